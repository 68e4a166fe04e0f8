"""The reference in the docs is the schema's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from hanji.contracts.registry import Registry
from hanji.methods import METHODS
from hanji.objectives import OBJECTIVES
from hanji.recipes.fields import Source
from hanji.recipes.reference import keys_of, markdown, options_of
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


@pytest.mark.parametrize("registry", [OBJECTIVES, METHODS], ids=lambda registry: registry.kind)
def test_every_option_says_what_it_means(registry: Registry) -> None:
    for name in registry:
        for option in options_of(registry, name):
            assert option.type, f"{name}: {option.path}"
            assert option.description, f"{name}: {option.path}"


def test_several_options_in_one_line_of_a_docstring_are_told_apart() -> None:
    options = {option.path: option for option in options_of(OBJECTIVES, "mlm+sop")}
    assert options["short_share"].default == "0.1"
    assert options["mask_units"].type == "tokens | words | spans"
    own = {option.path: option.description for option in options_of(OBJECTIVES, "mlm")}
    assert own["mask_share"] == "of the hidden tokens, those that show the mask."
    assert own["random_share"].startswith("those that show a random token.")
