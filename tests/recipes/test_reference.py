"""The reference in the docs is the schema's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from hanji.recipes.fields import Source
from hanji.recipes.reference import keys_of, markdown
from hanji.recipes.schema import STAGES, FinetuneStage

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "recipe.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "run: python -m hanji.recipes.reference > docs/reference/recipe.md"
    )


def test_keys_are_dotted_as_overrides_are() -> None:
    keys = {key.path: key for key in keys_of(FinetuneStage)}
    assert keys["train.learning_rate"].default == "2e-05"
    assert keys["train.learning_rate"].type == "number > 0"
    assert keys["train.optimizer"].type == "adamw | muon"
    assert keys["model"].default is None
    assert keys["method"].default == "full"
    assert keys["train.max_grad_norm"].description.startswith("The gradient's norm")


@pytest.mark.parametrize("schema", [*STAGES.values(), Source])
def test_every_key_says_what_may_stand_there(schema: type) -> None:
    for key in keys_of(schema):
        assert key.type, key.path
        assert key.description, key.path
