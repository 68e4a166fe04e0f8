"""The support matrix in the docs is what this suite runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from grid.cells import Cell, every_cell
from grid.material import Material
from grid.stages import settings
from grid.support_matrix import markdown
from hanji.methods import METHODS
from hanji.objectives import OBJECTIVES
from hanji.recipes.support import FROM_NOTHING

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "support-matrix.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "run: PYTHONPATH=tests python -m grid.support_matrix > docs/reference/support-matrix.md"
    )


def test_every_mark_is_a_cell_that_runs() -> None:
    """Of every objective and method: cells that hold, and what is in no row is refused."""
    held = {(cell.method, cell.objective) for cell in every_cell() if cell.reason is None}
    assert held == {(method, name) for method in METHODS for name in OBJECTIVES} | {
        (None, name) for name in FROM_NOTHING
    }


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name not in FROM_NOTHING])
def test_a_blank_model_is_refused_by_the_schema(objective: str, material: Material) -> None:
    with pytest.raises(ValidationError, match=f"pretrain does not support {objective}"):
        settings(Cell("llama", None, objective), material)
