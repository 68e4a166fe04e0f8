"""A cell that cannot be says so before any weights are loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from grid.cells import Cell, every_cell
from grid.material import Material
from grid.stages import run
from hanji.contracts.errors import ConfigError
from hanji.recipes.stages import finetune, pretrain


@pytest.mark.parametrize("cell", [cell for cell in every_cell() if cell.reason], ids=str)
def test_it_is_refused_with_the_reason(cell: Cell, material: Material, tmp_path: Path) -> None:
    def load(*arguments: Any, **options: Any) -> None:
        pytest.fail("weights were loaded")

    with (
        patch.object(finetune, "load_to_train", load),
        patch.object(pretrain, "blank_model", load),
        patch.object(finetune, "load_corpus", load),
        patch.object(pretrain, "load_corpus", load),
        pytest.raises(ConfigError, match=re.escape(str(cell.reason))) as refused,
    ):
        run(cell, material, tmp_path / "work")
    assert refused.value.where == "objective"
    assert not list((tmp_path / "work").iterdir())
