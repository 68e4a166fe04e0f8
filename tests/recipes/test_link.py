"""Names in a recipe: what they mean, and what is said where they mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hanji.artifacts.artifact import Artifact, Record
from hanji.artifacts.workspace import Workspace
from hanji.contracts.errors import ConfigError
from hanji.recipes.link import Linked, link
from hanji.recipes.schema import Recipe


def record(kind: str, name: str) -> Record:
    return Record(kind, name, "abc", {}, {}, 0, {}, "cpu", "2025-01-01T00:00:00+00:00", 1.0, {})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(tmp_path / "runs")
    for kind, stage in (("prepare", "corpus"), ("pretrain", "base")):
        with workspace.making("old", stage, "abc") as making:
            (making.work / "x").write_text(stage)
            workspace.use(making.commit(record(kind, f"old/{stage}")))
    return workspace


def recipe(**stages: dict[str, Any]) -> Recipe:
    return Recipe.model_validate({"name": "q", "stages": stages})


def finetune(**settings: Any) -> dict[str, Any]:
    return {"kind": "finetune", "model": "old/base", "data": "old/corpus", **settings}


PREPARE = {"kind": "prepare", "source": "python-docs"}


def test_stages_come_after_what_they_need(workspace: Workspace) -> None:
    linked = link(
        recipe(
            report={"kind": "evaluate", "models": ["chat"]},
            chat=finetune(data="rows", model="start"),
            start=finetune(data="rows"),
            rows=PREPARE,
        ),
        workspace,
    )
    assert linked.order == ("rows", "start", "chat", "report")
    assert linked.needed_for(("start",)) == ("rows", "start")
    assert linked.parents["chat"] == ("start", "rows")


def test_names_of_artifacts_paths_and_hub_ids(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "statistics.json").write_text("{}")
    (tmp_path / "model").mkdir()
    linked = link(
        recipe(
            a=finetune(),
            b=finetune(model="base", data="corpus"),
            c=finetune(model="someone/some-model", data="prepared"),
            d=finetune(model="model"),
        ),
        workspace,
    )
    assert isinstance(linked.given["old/base"], Artifact)
    assert linked.given["old/base"] == linked.given["base"]
    assert linked.given["someone/some-model"] == "someone/some-model"
    assert linked.given["prepared"] == "prepared"
    assert linked.given["model"] == "model"


def test_a_stage_hides_an_older_artifact_of_its_name(workspace: Workspace) -> None:
    linked = link(recipe(corpus=PREPARE, a=finetune(data="corpus")), workspace)
    assert linked.parents["a"] == ("corpus",)
    assert "corpus" not in linked.given


def test_a_source_where_data_is_wanted_is_prepared_on_the_way(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    linked: Linked = link(
        recipe(a=finetune(data=[{"data": "rows.jsonl", "weight": 2}, {"data": "python-docs", "weight": 1}])),
        workspace,
    )
    assert list(linked.recipe.stages) == ["a-data", "a-data-2", "a"]
    assert linked.recipe.stages["a-data"].source[0].path == "rows.jsonl"
    assert [(mix.data, mix.weight) for mix in linked.recipe.stages["a"].data] == [
        ("a-data", 2),
        ("a-data-2", 1),
    ]
    assert linked.order[-1] == "a"


def test_globs_and_addresses_are_sources(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("x")
    for source in ("*.txt", str(tmp_path / "*.txt"), "s3://bucket/rows.jsonl", "someone/some-data"):
        assert "a-data" in link(recipe(a=finetune(data=source)), workspace).recipe.stages


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ({"a": finetune(data="corpsu")}, "did you mean corpus?"),
        ({"a": finetune(data="absent.jsonl")}, "Nothing is called absent.jsonl"),
        ({"a": finetune(data="folder/absent.jsonl")}, "Nothing is called folder/absent.jsonl"),
        ({"a": finetune(model="folder/absent.gguf")}, "Nothing is called folder/absent.gguf"),
        ({"a": finetune(model="old/bsae")}, "did you mean old/base?"),
        ({"a": finetune(data="old/corpsu")}, "did you mean old/corpus?"),
        ({"a": finetune(model="bsae")}, "did you mean"),
        ({"rows": PREPARE, "a": finetune(model="rows")}, "rows is data, but a model is wanted here"),
        ({"a": finetune(data="old/base")}, "old/base is a model, but data is wanted here"),
        ({"a": finetune(data="b"), "b": finetune()}, "b is a model, but data is wanted here"),
        ({"a": finetune(model="b"), "b": finetune(model="a")}, "circle"),
        ({"a": finetune(model="a")}, "circle"),
        ({"a": finetune(data="python-docs"), "a-data": PREPARE}, "so is a stage"),
        (
            {
                "a": {
                    "kind": "pretrain",
                    "model": "lama-nano",
                    "tokenizer": "base",
                    "data": "corpus",
                    "train": {"steps": 1},
                }
            },
            "did you mean llama-nano?",
        ),
    ],
)
def test_what_is_refused(workspace: Workspace, stages: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        link(recipe(**stages), workspace)
    assert told in str(caught.value)


def test_messages_name_the_line(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"r\.yaml:\['stages', 'a', 'data', 0\]"):
        link(recipe(a=finetune(data="nope")), workspace, lambda place: f"r.yaml:{list(place)}")
