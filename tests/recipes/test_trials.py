"""A comparison becomes stages: their names, methods, rates, and the data that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hanji.artifacts.workspace import Workspace
from hanji.contracts.errors import ConfigError
from hanji.methods import METHODS
from hanji.recipes.document import Document
from hanji.recipes.fields import Trial
from hanji.recipes.link import link
from hanji.recipes.load import check
from hanji.recipes.schema import Recipe
from hanji.recipes.trials import comparing, learning_rate


def recipe(**stages: dict[str, Any]) -> Recipe:
    return check(Document({"name": "q", "stages": stages}, {}, "q.yaml"))


def compare(**settings: Any) -> dict[str, Any]:
    return {"kind": "compare", "model": "owner/base", "data": "owner/rows", **settings}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "runs")


def test_each_way_is_a_stage_on_the_same_data_and_budget(workspace: Workspace) -> None:
    ways = compare(
        methods=["full", {"name": "lora", "rank": 4}, "lora", {"name": "prompt", "learning_rate": 0.3}],
        train={"steps": 7, "learning_rate": 1e-3},
        objective="classify",
    )
    linked = link(recipe(ways=ways), workspace)
    made = linked.recipe.stages
    assert list(made) == ["ways-data", "ways-full", "ways-lora", "ways-lora-2", "ways-prompt", "ways"]
    trials = [made[name] for name in ("ways-full", "ways-lora", "ways-lora-2", "ways-prompt")]
    assert [trial.kind for trial in trials] == ["finetune"] * 4
    assert [trial.method.name for trial in trials] == ["full", "lora", "lora", "prompt"]
    assert [trial.method.options for trial in trials] == [{}, {"rank": 4}, {}, {}]
    assert [trial.train.learning_rate for trial in trials] == [1e-3, 5e-3, 5e-3, 0.3]
    assert {trial.train.steps for trial in trials} == {7}
    assert {trial.objective.name for trial in trials} == {"classify"}
    assert {mix.data for trial in trials for mix in trial.data} == {"ways-data"}
    assert linked.parents["ways"] == ("ways-full", "ways-lora", "ways-lora-2", "ways-prompt")
    assert linked.needed_for(("ways-lora",)) == ("ways-data", "ways-lora")


def test_every_method_is_compared_where_none_is_named(workspace: Workspace) -> None:
    linked = link(recipe(ways=compare()), workspace)
    assert linked.parents["ways"] == tuple(f"ways-{name}" for name in METHODS if name != "qlora")


def test_a_source_that_is_prepared_on_the_way_keeps_rows_to_compare_on(workspace: Workspace) -> None:
    prepared = link(recipe(ways=compare()), workspace).recipe.stages["ways-data"]
    assert (prepared.split.validation, prepared.split.test) == (0.05, 0.2)


def test_other_stages_may_name_a_way_and_baselines_are_parents(workspace: Workspace) -> None:
    linked = link(
        recipe(
            ways=compare(methods=["full", "lora"], baselines="owner/other"),
            report={"kind": "evaluate", "models": ["ways-lora"]},
        ),
        workspace,
    )
    assert linked.parents["report"] == ("ways-lora",)
    assert linked.given["owner/other"] == "owner/other"


@pytest.mark.parametrize(
    ("method", "rate", "expected"),
    [
        ("full", 2e-5, 2e-5),
        ("freeze", 2e-5, 2e-5),
        ("adapter", 2e-5, 2e-4),
        ("lora", 2e-5, 2e-4),
        ("qlora", 2e-5, 2e-4),
        ("prompt", 2e-5, 2e-3),
        ("lora", 1e-3, 5e-3),
        ("prompt", 1e-2, 5e-2),
        ("lora", 8e-3, 8e-3),
    ],
)
def test_what_is_added_learns_faster_up_to_a_rate_and_never_slower(
    method: str, rate: float, expected: float
) -> None:
    assert learning_rate(Trial(name=method), rate) == pytest.approx(expected)


def test_every_method_on_the_task_of_a_finetune_stage() -> None:
    chat = {
        "kind": "finetune",
        "model": "owner/base",
        "data": "owner/rows",
        "method": {"name": "lora", "rank": 3},
        "train": {"steps": 5, "learning_rate": 2e-4},
    }
    changed, name = comparing(recipe(chat=chat), "chat")
    assert name == "compare-chat"
    found = changed.stages[name]
    ways = {way.name: way for way in found.ways}
    assert list(ways) == [name for name in METHODS if name != "qlora"]
    assert ways["lora"].options == {"rank": 3}
    rates = {way.name: learning_rate(way, found.train.learning_rate) for way in found.ways}
    assert rates["lora"] == 2e-4
    assert rates["full"] == pytest.approx(2e-5)
    assert rates["prompt"] == pytest.approx(2e-3)
    assert found.train.steps == 5


def test_a_method_that_is_not_compared_by_itself_is_where_the_stage_has_it() -> None:
    chat = {
        "kind": "finetune",
        "model": "owner/base",
        "data": "owner/rows",
        "method": {"name": "qlora", "rank": 3},
        "train": {"steps": 5, "learning_rate": 2e-4},
    }
    changed, name = comparing(recipe(chat=chat), "chat")
    ways = {way.name: way for way in changed.stages[name].ways}
    assert list(ways) == list(METHODS)
    assert ways["qlora"].options == {"rank": 3}


ROWS = {"kind": "prepare", "source": "python-docs", "split": {"validation": 0.0}}


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ({"ways": compare(methods=["lara"])}, "did you mean lora?"),
        ({"ways": compare(methods=[{"name": "lora", "rank": 0}])}, "a LoRA needs a rank"),
        ({"ways": compare(methods=[{"name": "lora", "rnk": 2}])}, "did you mean rank?"),
        ({"ways": compare(methods=[{"name": "lora", "learning_rate": -1}])}, "greater than 0"),
        ({"ways": compare(methods=[])}, "at least 1"),
        ({"ways": compare(score="acuracy", objective="classify")}, "did you mean accuracy?"),
        ({"ways": compare(score="pearson")}, "there is loss, perplexity, bits_per_byte, accuracy"),
        ({"ways": compare(objective="dpo", baselines=["owner/base"])}, "there can be no baselines"),
        ({"ways": compare(trials=["x"])}, "There is no key trials here"),
        ({"ways": compare(method="lora")}, "did you mean methods?"),
    ],
)
def test_what_is_refused_when_the_recipe_is_read(stages: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(**stages)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        (
            {"ways": compare(), "ways-lora": {"kind": "evaluate", "models": "owner/base"}},
            "would be called ways-lora, but so is a stage",
        ),
        ({"rows": ROWS, "ways": compare(data="rows")}, "rows: split: {validation: 0.1, test: 0.1}"),
        ({"ways": compare(model="absent.gguf")}, "Nothing is called absent.gguf"),
        ({"rows": ROWS, "ways": compare(baselines="rows")}, "rows is data, but a model is wanted here"),
        ({"ways": compare(model="ways-lora")}, "circle"),
    ],
)
def test_what_is_refused_when_names_are_looked_up(
    stages: dict[str, Any], told: str, workspace: Workspace
) -> None:
    document = Document({"name": "q", "stages": stages}, {("stages", "ways"): "q.yaml:3"}, "q.yaml")
    with pytest.raises(ConfigError) as caught:
        link(check(document), workspace, document.where)
    assert told in str(caught.value)
