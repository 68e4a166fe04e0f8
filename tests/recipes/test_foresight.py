"""What the rows tell of a later stage is refused before that stage, and any training, begins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hanji
from hanji.contracts.errors import ConfigError, DataError
from hanji.data.prepare import prepare
from hanji.data.prepared import splits
from hanji.data.sources import Source
from hanji.evaluation.row_scores import row_scores
from hanji.recipes.foresight import foresee
from hanji.recipes.schema import PretrainStage
from hanji.recipes.support import OF_LABELS

LABELS = {"classes": ["good", "bad"], "several": [["good", "new"], ["bad"]], "number": [0.5, 3.5]}


def recipe(here: Path, stages: str) -> Path:
    (here / "model").mkdir(exist_ok=True)
    (here / "model" / "config.json").write_text('{"model_type": "llama"}')
    (here / "foreseen.yaml").write_text(f"name: foreseen\ndevice: cpu\nstages:\n{stages}", encoding="utf-8")
    return here / "foreseen.yaml"


@pytest.mark.parametrize(
    ("kind", "score"), [("classes", "pearson"), ("several", "matthews"), ("number", "accuracy")]
)
def test_a_score_that_such_labels_never_have(kind: str, score: str, tmp_path: Path) -> None:
    rows = [{"text": f"Paper {number}.", "label": LABELS[kind][number % 2]} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = recipe(
        tmp_path,
        f"  ways: {{kind: compare, model: {tmp_path}/model, data: {tmp_path}/rows.jsonl,"
        f" objective: classify, methods: [full], score: {score}}}\n",
    )
    with pytest.raises(ConfigError, match="have no score of this name") as refused:
        hanji.run(path, runs=tmp_path / "runs")
    assert (refused.value.where, refused.value.value) == ("ways.score", repr(score))
    assert refused.value.expected == ", ".join(OF_LABELS[kind])
    assert [made.name for made in (tmp_path / "runs" / "foreseen").iterdir()] == ["ways-data"]


def test_the_scores_of_labels_are_those_that_rows_get() -> None:
    right = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    for kind, known in OF_LABELS.items():
        found = row_scores(kind, right + 0.1, right, intervals=False)  # type: ignore[arg-type]
        assert set(known) == {*found, "loss"}


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Prepared data of which a single row is held out."""
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(f'{{"text": "Day {day}. Paper dries. It is calm."}}\n' for day in range(30)))
    for seed in range(50):
        place = tmp_path / f"prepared-{seed}"
        prepare([Source(str(source))], place, split={"validation": 0.03}, seed=seed)
        if splits(place).get("validation") == 1:
            return place
    raise AssertionError("no seed holds out one row")


def test_a_split_of_a_single_document_has_no_other(documents: Path, tmp_path: Path) -> None:
    path = recipe(
        tmp_path,
        f"  words: {{kind: tokenizer, data: {documents}, algorithm: wordpiece, vocab_size: 64}}\n"
        f"  base: {{kind: pretrain, model: bert-nano, tokenizer: words, data: {documents},"
        " objective: mlm+nsp, train: {steps: 1}}\n",
    )
    with pytest.raises(DataError, match="there is only one") as refused:
        hanji.run(path, runs=tmp_path / "runs")
    assert str(refused.value.where) == f"{documents}: validation ({documents})"
    assert "documents: passage" in str(refused.value.hint)
    assert not (tmp_path / "runs" / "foreseen").exists()


def test_objectives_that_pair_nothing_do_with_one_document(documents: Path) -> None:
    stage = {"model": "bert-nano", "tokenizer": "words", "data": "texts", "train": {"steps": 1}}
    for objective in ("mlm", "mlm+sop"):
        foresee("base", PretrainStage.model_validate({**stage, "objective": objective}), {"texts": documents})
