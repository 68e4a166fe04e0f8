"""Plans of whole recipes: before anything is made they say what they assume; then they agree with the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hanji.artifacts.workspace import Workspace
from hanji.recipes.document import Document
from hanji.recipes.link import Linked, link
from hanji.recipes.load import check
from hanji.recipes.plan.recipe import RecipePlanner
from hanji.recipes.runner import Run

TRAIN = {"sequence_length": 64, "batch_tokens": 256, "micro_batch_tokens": 128}


@pytest.fixture
def linked(tmp_path: Path) -> Linked:
    text = "\n\n".join(
        f"Paper number {n} is made of mulberry bark, {n * 7} sheets a day." for n in range(400)
    )
    (tmp_path / "paper.txt").write_text(text)
    recipe = check(
        Document(
            {
                "name": "paper",
                "stages": {
                    "corpus": {
                        "kind": "prepare",
                        "source": {"path": str(tmp_path / "paper.txt"), "documents": "paragraph"},
                        "split": {"validation": 0.1},
                    },
                    "tokenizer": {"kind": "tokenizer", "data": "corpus", "vocab_size": 300},
                    "base": {
                        "kind": "pretrain", "model": "llama-nano", "config": {"num_hidden_layers": 1},
                        "tokenizer": "tokenizer", "data": "corpus", "train": {"epochs": 1, **TRAIN},
                    },
                    "more": {
                        "kind": "finetune", "model": "base", "data": "corpus", "objective": "clm",
                        "train": {"steps": 3, **TRAIN},
                    },
                },
            },
            {},
            "recipe.yaml",
        )
    )  # fmt: skip
    return link(recipe, Workspace(tmp_path / "runs"))


def test_a_recipe_is_planned_before_it_is_made_and_comes_true(linked: Linked, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "runs")
    planner = RecipePlanner(linked, workspace, "cpu")
    base, more = planner.plans()
    assert [base.name, more.name] == ["base", "more"]
    assert base.steps is None and more.steps == 3
    assert "tokenizer is not trained yet" in base.assumed[0]
    assert any("corpus is not prepared yet" in sentence for sentence in base.assumed)
    assert not workspace.artifacts()

    Run(linked, workspace, until="tokenizer")()
    known = planner.plan("base")
    made = Run(linked, workspace)()
    metrics = made["base"].metrics
    assert known.parameters == metrics["parameters"]
    assert known.trainable == metrics["trained_parameters"]
    assert known.steps == pytest.approx(metrics["steps"], rel=0.1)
    assert known.tokens == pytest.approx(metrics["tokens"], rel=0.1)
    assert planner.plan("more").parameters == made["more"].metrics["parameters"]
