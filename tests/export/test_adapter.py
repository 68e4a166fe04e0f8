"""PEFT directories that stand by themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from export.added import make_added
from export.conftest import Notes
from grid import plain
from hanji.artifacts.models import load_trained
from hanji.contracts.errors import ConfigError, ModelError
from hanji.contracts.labels import Labels
from hanji.export.comparison import answers_of
from hanji.export.exporting import export
from hanji.export.subject import Subject

LABELS = Labels("classes", ("bad", "good", "so so"))


def named_base(directory: Path) -> str:
    return str(json.loads((directory / "adapter_config.json").read_text())["base_model_name_or_path"])


@pytest.mark.parametrize("method", ["lora", "adapter", "prompt"])
@pytest.mark.parametrize("labels", [None, LABELS], ids=["causal", "classes"])
def test_peft_loads_every_method_the_same(
    method: str, labels: Labels | None, llama: Path, tmp_path: Path
) -> None:
    added = make_added(llama, method, tmp_path / "added", labels=labels)
    made = export(str(added), "adapter", tmp_path / "out")
    (comparison,) = made.comparisons
    assert comparison.difference is not None and comparison.difference < 1e-5
    assert ("import hanji" in comparison.reader) == (method == "adapter")
    assert named_base(made.path) == str(llama)
    assert (made.path / "tokenizer.json").is_file()


@pytest.mark.slow
def test_a_process_without_hanji_loads_it(llama: Path, tmp_path: Path) -> None:
    added = make_added(llama, "lora", tmp_path / "added")
    made = export(str(added), "adapter", tmp_path / "out")
    subject = Subject(str(made.path))
    case = {
        "directory": str(made.path), "head": "causal", "outputs": None,
        "rows": [[row["input_ids"]] for row in subject.rows],
        "expected": [v for part in answers_of(load_trained(added), subject.rows) for v in part.tolist()],
    }  # fmt: skip
    (tmp_path / "cases.json").write_text(json.dumps([case]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", plain.__file__, "alone", tmp_path / "cases.json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "1 are the same\n", done.stderr


def test_hanji_reads_its_own_export(llama: Path, tmp_path: Path) -> None:
    added = make_added(llama, "prompt", tmp_path / "added")
    made = export(str(added), "adapter", tmp_path / "out")
    again = export(str(made.path), "adapter", tmp_path / "again")
    assert again.comparisons[0].difference is not None


def test_the_base_is_where_one_says(llama: Path, tmp_path: Path) -> None:
    added = make_added(llama, "lora", tmp_path / "added")
    moved = Path(shutil.copytree(llama, tmp_path / "moved"))
    made = export(str(added), "adapter", tmp_path / "here", base=str(moved))
    assert named_base(made.path) == str(moved)
    notes = Notes()
    elsewhere = export(str(added), "adapter", tmp_path / "there", base="paper/llama", progress=notes)
    assert named_base(elsewhere.path) == "paper/llama"
    assert any("compared on" in note and str(llama) in note for note in notes.notes)


def test_another_model_is_no_base(llama: Path, make_model: Callable[..., Path], tmp_path: Path) -> None:
    added = make_added(llama, "lora", tmp_path / "added")
    other = make_model("llama", initializer_range=0.1)
    with pytest.raises(ModelError, match="differ"):
        export(str(added), "adapter", tmp_path / "out", base=str(other))
    assert not (tmp_path / "out").exists()


def test_a_base_without_a_place_goes_with_it(llama: Path, tmp_path: Path) -> None:
    first = make_added(llama, "lora", tmp_path / "first")
    merged = export(str(first), "merged", tmp_path / "second" / "base").path
    second = make_added(merged, "lora", tmp_path / "second")
    made = export(str(second), "adapter", tmp_path / "out")
    assert named_base(made.path) == str(made.path / "base")
    shutil.rmtree(tmp_path / "second")
    load_trained(made.path)


def test_a_whole_model_is_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this model is whole"):
        export(str(llama), "adapter", tmp_path / "out")
