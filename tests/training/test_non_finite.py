"""Steps whose loss or gradient is not finite."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hanji.contracts.batch import IGNORED, Batch
from hanji.contracts.errors import TrainingError
from hanji.training.non_finite import NonFinite
from hanji.training.parallel import Parallel

BATCH = Batch(torch.tensor([5, 6, 7, 8, 9]), torch.tensor([6, IGNORED, 8, 9, IGNORED]), (2, 3))


def test_finite_steps_pass(tmp_path: Path) -> None:
    assert not NonFinite(tmp_path).refuses(3, 2.5, 0.1, BATCH)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("loss", "norm", "named"),
    [(math.nan, 1.0, "loss"), (math.inf, 1.0, "loss"), (1.0, math.inf, "gradient norm")],
)
def test_stopping_saves_the_batch_and_names_the_file(
    tmp_path: Path, loss: float, norm: float, named: str
) -> None:
    with pytest.raises(TrainingError, match=f"The {named} is not finite") as caught:
        NonFinite(tmp_path / "kept").refuses(12, loss, norm, BATCH)
    path = tmp_path / "kept" / "non_finite-step-12.safetensors"
    assert str(path) in caught.value.problem
    saved = load_file(path)
    assert torch.equal(saved["input_ids"], BATCH.input_ids)
    assert torch.equal(saved["labels"], BATCH.labels)
    assert saved["lengths"].tolist() == [2, 3]
    figures = json.loads(path.with_suffix(".json").read_text())
    assert float(figures["loss"]) == loss or math.isnan(loss)
    assert (figures["step"], figures["trained_tokens"]) == (12, 3)


def test_skipping_counts_and_gives_up_after_so_many_in_a_row(tmp_path: Path) -> None:
    guard = NonFinite(tmp_path, action="skip", most_in_a_row=3)
    assert [guard.refuses(step, math.nan, 1.0, BATCH) for step in (0, 1)] == [True, True]
    assert not guard.refuses(2, 1.0, 1.0, BATCH)  # a good step begins the count again
    assert [guard.refuses(step, math.nan, 1.0, BATCH) for step in (3, 4)] == [True, True]
    assert guard.skipped == 4
    resumed = NonFinite(tmp_path, action="skip", most_in_a_row=3)
    resumed.load_state(json.loads(json.dumps(guard.state())))
    with pytest.raises(TrainingError, match="3 times in a row"):
        resumed.refuses(5, math.nan, 1.0, BATCH)
    assert (tmp_path / "non_finite-step-5.safetensors").exists()


def test_each_rank_saves_its_own_batch(tmp_path: Path) -> None:
    second = Parallel(1, 2, torch.device("cpu"))
    with pytest.raises(TrainingError):
        NonFinite(tmp_path, parallel=second).refuses(1, math.nan, 1.0, BATCH)
    assert (tmp_path / "non_finite-step-1-rank-1.safetensors").exists()
