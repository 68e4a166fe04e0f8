"""What holds for every format: options, names, what lies there already, and what is left after a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.conftest import Notes
from hanji.contracts.errors import ArtifactError, ConfigError, ModelError
from hanji.export import EXPORTS
from hanji.export.comparison import compare
from hanji.export.exporting import export, make_exporter
from hanji.export.merged import Merged


@pytest.mark.parametrize("format", EXPORTS)
def test_every_format_keeps_the_protocol(format: str) -> None:
    exporter = make_exporter(format, {})
    assert exporter.ending.startswith("." if exporter.mark is None else "-") or exporter.ending.endswith(
        ".gguf"
    )
    assert all(callable(getattr(exporter, name)) for name in ("check", "write", "compare"))


def test_an_unknown_format_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean gguf"):
        export("model", "ggfu", tmp_path / "out")


@pytest.mark.parametrize(("format", "option"), [("merged", "type"), ("onnx", "type"), ("gguf", "base")])
def test_an_option_of_another_format_is_refused(format: str, option: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no option --{option}"):
        export("model", format, tmp_path / "out", **{option: "f32"})


def test_names_follow_from_the_model_and_the_format(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert export(str(llama), "merged", name="demo/chat").path == Path("chat-merged")
    assert export(str(llama), "gguf", name="x/model.gguf", type="f16").path == Path("model-f16.gguf")
    assert export(str(llama), "gguf", tmp_path, name="chat").path == tmp_path / "chat-f32.gguf"


def test_what_lies_there_is_replaced_by_force_alone(llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    first = export(str(llama), "merged", out)
    (out / "note.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="already"):
        export(str(llama), "merged", out)
    assert (out / "note.txt").is_file()
    assert export(str(llama), "merged", out, force=True).path == first.path
    assert not (out / "note.txt").exists() and [*out.parent.iterdir()] == [out]


@pytest.mark.parametrize("lying", ["directory", "artifact"])
def test_force_replaces_exports_only(lying: str, llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    if lying == "artifact":
        (out / "config.json").write_text("{}")
        (out / "artifact.json").write_text("{}")
    with pytest.raises(ArtifactError, match="replaces nothing else"):
        export(str(llama), "merged", out, force=True)
    assert (out / "thesis.txt").is_file()


def test_a_fault_leaves_what_was_there(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = export(str(llama), "merged", tmp_path / "out").path
    before = (out / "config.json").read_bytes()

    def fails(*arguments: object) -> None:
        raise ModelError("not the same")

    monkeypatch.setattr(Merged, "compare", fails)
    with pytest.raises(ModelError):
        export(str(llama), "merged", out, force=True)
    assert (out / "config.json").read_bytes() == before and [*tmp_path.iterdir()] == [out]


def test_progress_is_told(llama: Path, tmp_path: Path) -> None:
    told = Notes()
    export(str(llama), "gguf", tmp_path / "m.gguf", progress=told)
    done = [(number, total) for phase, number, total in told.phases if phase == "writing tensors"]
    assert done[-1][0] == done[-1][1] == len(done)
    assert any("transformers" in note for note in told.notes)


def test_a_difference_is_a_share_of_the_largest_value() -> None:
    import torch

    one, other = torch.tensor([1.0, -20.0]), torch.tensor([1.0, -20.1])
    assert compare("x", "y", [one], [other], tolerance=1e-2).difference == pytest.approx(0.1 / 20.1, rel=1e-4)
    with pytest.raises(ModelError, match="differ"):
        compare("x", "y", [one], [other], tolerance=1e-3)
    with pytest.raises(ModelError, match="differ"):
        compare("x", "y", [one * torch.nan], [other], tolerance=1.0)
    with pytest.raises(ModelError, match="differ"):
        compare("x", "y", [one[:1]], [other], tolerance=1.0)
