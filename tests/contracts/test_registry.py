"""Names and what they stand for, other packages' names among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hanji.contracts import registry
from hanji.contracts.errors import ConfigError
from hanji.contracts.registry import Registry


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that adds a colour and a shape, and claims a name that is taken."""
    about = tmp_path / "foreign-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[hanji.colours]\nred = foreign:RED\nblue = foreign:BLUE\n[hanji.shapes]\nring = foreign:Ring\n"
    )
    (tmp_path / "foreign.py").write_text("RED, BLUE = 'red', 'blue'\n\n\nclass Ring: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._foreign.cache_clear()
    yield
    registry._foreign.cache_clear()


@pytest.mark.usefixtures("foreign")
def test_names_of_other_packages_are_listed_and_loaded() -> None:
    colours, shapes = Registry("colours", {"blue": "math:pi"}), Registry("shapes", {})
    assert set(colours) == {"red", "blue"} and list(shapes) == ["ring"]
    assert colours.load("red") == "red"
    assert shapes.load("ring").__name__ == "Ring"
    assert colours.load("blue") == pytest.approx(3.14159, abs=1e-5), "a name of ours cannot be taken away"


def test_a_name_that_nobody_registered() -> None:
    with pytest.raises(ConfigError, match="there is no colour of this name") as refused:
        Registry("colours", {"blue": "math:pi"}).load("bleu")
    assert refused.value.hint == "did you mean blue?"
