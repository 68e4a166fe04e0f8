"""YAML 1.2 in, plain values and their places out; overrides on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hanji.contracts.errors import ConfigError
from hanji.recipes.document import Document, parse, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-3", 0.003),
        ("1e6", 1_000_000.0),
        ("2_000_000", 2_000_000),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("2020-01-01", "2020-01-01"),
        ("1:30", "1:30"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("a/b:c", "a/b:c"),
        ("한지", "한지"),
    ],
)
def test_scalars_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse(text, "x").content_or_scalar
    assert found == value
    assert type(found) is type(value)


def test_lines_are_remembered(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: q\nstages:\n  base:\n    train:\n      tokens: 1\n  list: [1,\n    2]\n")
    document = read(file)
    assert document.where(("stages", "base", "train", "tokens")) == f"{file}:5: base.train.tokens"
    assert document.where(("stages", "list", 1)) == f"{file}:7: list.1"
    assert document.where(("stages", "base", "train", "absent")) == f"{file}:4: base.train.absent"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", r"key a stands twice\n.*:3\n.*line 1 too"),
        ("a: {x: 1, x: 2}", "key x stands twice"),
        ("a: [1,\n", "no YAML"),
        ("1: x", "key must be text"),
        ("a: !!python/object:os.system x", "Tags"),
        ("a: &x [*x]", "alias"),
        ("- 1\n- 2\n", "is a mapping"),
        ("a: 1\n---\nb: 2\n", "no YAML"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        read(file)
    assert caught.value.where is not None
    assert caught.value.where.startswith(str(file))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such recipe"):
        read(tmp_path / "absent.yaml")


def test_aliases_stand_for_copies() -> None:
    assert parse("a: &x {b: 1}\nc: *x\n", "x").content_or_scalar == {"a": {"b": 1}, "c": {"b": 1}}


def document() -> Document:
    stages = {
        "base": {"train": {"tokens": 5, "learning_rate": 1}, "method": "full"},
        "corpus": {"source": [{"path": "a"}, {"path": "b"}]},
        "one": {"source": {"path": "a"}},
    }
    return Document({"name": "q", "stages": stages}, {}, "r.yaml")


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("base.train.learning_rate=1e-3", ("stages", "base", "train", "learning_rate"), 0.001),
        ("stages.base.train.learning_rate=2", ("stages", "base", "train", "learning_rate"), 2),
        ("base.train.betas=[0.9, 0.99]", ("stages", "base", "train", "betas"), [0.9, 0.99]),
        ("base.config.hidden_size=64", ("stages", "base", "config", "hidden_size"), 64),
        ("corpus.source.1.path=c=d", ("stages", "corpus", "source", 1, "path"), "c=d"),
        ("one.source.0.path=c", ("stages", "one", "source", "path"), "c"),
        ("base.method.rank=8", ("stages", "base", "method"), {"name": "full", "rank": 8}),
        ("seed=3", ("seed",), 3),
        ("base.train.tokens=null", ("stages", "base", "train", "tokens"), None),
    ],
)
def test_overrides(override: str, place: tuple[str | int, ...], value: Any) -> None:
    before = document()
    assert before.with_overrides([override]).at(place) == value
    assert before == document(), "the original stays as it is"


def test_one_budget_replaces_another() -> None:
    train = document().with_overrides(["base.train.steps=3"]).at(("stages", "base", "train"))
    assert train == {"steps": 3, "learning_rate": 1}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("base.train", "no override"),
        ("=3", "no override"),
        ("bsae.train.tokens=3", "did you mean base"),
        ("base.train.tokens.x=3", "holds nothing"),
        ("corpus.source.2.path=c", "holds nothing"),
        ("corpus.source.9=c", "a list of 2 items"),
        ("corpus.source.x=c", "a list of 2 items"),
        ("base.train.x={a: 1, a: 2}", "stands twice"),
    ],
)
def test_overrides_that_are_refused(override: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        document().with_overrides([override])
    assert "command line" in str(caught.value.where)
