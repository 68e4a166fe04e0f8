"""What the grid's tests share: rows, tokenizers and base models, made once, and each cell's trained model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from grid.cells import every_cell, variants
from grid.material import Material
from grid.stages import Seen, run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what is asked of other cells; see `of`."""
    items[:] = [item for item in items if _is_asked(item)]


def _is_asked(item: pytest.Item) -> bool:
    asked = getattr(getattr(item, "function", None), "asked_of", None)
    return asked is None or asked(item.callspec.params["trained"])  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Prepared data, tokenizers, and base models."""
    return Material.make(tmp_path_factory.mktemp("grid"))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(cell, id=str(cell), marks=[] if cell.quick else [pytest.mark.slow])
        for cell in (*every_cell(), *variants())
        if cell.reason is None
    ],
)
def trained(
    request: pytest.FixtureRequest, material: Material, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    """A cell's whole stage, run to its end."""
    directory = tmp_path_factory.mktemp("cell")
    yield run(request.param, material, directory / "work")
    shutil.rmtree(directory)
