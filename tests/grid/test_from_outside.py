"""The package that docs/concepts/extending.md shows, installed: recipes train with what it adds."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hanji
from grid.material import Material
from grid.plain import load_whole, load_with_peft, outputs_of
from grid.stages import SEQUENCE_LENGTH
from hanji.artifacts.artifact import Artifact
from hanji.artifacts.models import load_to_train, load_trained
from hanji.contracts import registry
from hanji.contracts.errors import ConfigError
from hanji.methods import METHODS
from hanji.objectives import OBJECTIVES
from snippets import ROOT, blocks

PAGE = blocks(ROOT / "docs" / "concepts" / "extending.md")
ROW = [5, 6, 7, 8, 9, 10]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's classes in one module, and what an installer makes of its pyproject.toml."""
    about = tomllib.loads(next(block.text for block in PAGE if block.file == "pyproject.toml"))["project"]
    place = tmp_path / "site"
    information = place / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    )
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in found.items())
        for group, found in about["entry-points"].items()
    ]
    (information / "entry_points.txt").write_text("".join(points))
    classes = [block.text for block in PAGE if block.language == "python" and "\nclass " in f"\n{block.text}"]
    (place / "hanji_factors.py").write_text("\n\n".join(classes))
    monkeypatch.syspath_prepend(str(place))
    forget_what_is_registered()
    yield
    forget_what_is_registered()


def forget_what_is_registered() -> None:
    """As in a new process."""
    registry._foreign.cache_clear()
    for found in (METHODS, OBJECTIVES):
        vars(found).pop("_all", None)


def trained(material: Material, folder: Path, method: str) -> Artifact:
    """A model trained by the page's objective and one of its methods, by a recipe."""
    recipe = folder / "outside.yaml"
    recipe.write_text(
        f"""
name: outside
device: cpu
stages:
  tuned:
    kind: finetune
    model: {material.base("llama")}
    data: {material.data["chat"]}
    objective: each-answer-alike
    method: {method}
    train:
      {{steps: 6, learning_rate: 0.02, sequence_length: {SEQUENCE_LENGTH}, batch_tokens: 960, log_every: 1}}
""",
        encoding="utf-8",
    )
    return hanji.run(recipe, runs=folder / "runs")["tuned"]


def losses(made: Artifact) -> list[float]:
    lines = (made.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [metrics["loss"] for metrics in map(json.loads, lines) if "loss" in metrics]


@pytest.mark.usefixtures("installed")
def test_a_method_that_freezes(material: Material, tmp_path: Path) -> None:
    made = trained(material, tmp_path, "norms-and-biases")
    assert losses(made)[-1] < 0.99 * losses(made)[0]
    before = load_file(material.base("llama") / "model.safetensors")
    after = load_file(made.path / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if before[name].ndim < 2}
    assert made.record.config["method"] == {"name": "norms-and-biases"}


@pytest.mark.usefixtures("installed")
@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
def test_a_method_that_adds(material: Material, tmp_path: Path) -> None:
    made = trained(material, tmp_path, "ia3")
    assert losses(made)[-1] < 0.99 * losses(made)[0]
    loaded = outputs_of(load_trained(made.path).eval(), [[ROW]])
    plain = outputs_of(load_with_peft(made.path, "causal", None), [[ROW]])
    merged = load_to_train(made.path, "causal", labels=None, pad_id=0, seed=0).model.eval()
    base = outputs_of(load_whole(material.base("llama"), "causal"), [[ROW]])
    assert not torch.allclose(loaded, base, atol=1e-2)
    for same in (plain, outputs_of(merged, [[ROW]])):
        torch.testing.assert_close(same, loaded, rtol=1e-5, atol=1e-5)


def test_without_the_package_its_names_are_unknown(material: Material, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no objective each-answer-alike"):
        trained(material, tmp_path, "full")
