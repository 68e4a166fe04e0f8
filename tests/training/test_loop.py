"""The loss is the mean over trained tokens: gradients do not depend on how a batch is cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hanji.contracts.errors import TrainingError
from hanji.contracts.rows import TokenRows
from hanji.models.policies import CausalPolicy
from hanji.objectives import OBJECTIVES
from hanji.training.loop import Run, StepReport, fit, training_step
from hanji.training.non_finite import NonFinite
from hanji.training.optimizers import build_optimizers
from hanji.training.schedules import schedule
from tiny_models import VOCABULARY, tiny

LENGTHS = (20, 5, 33, 8, 12, 27, 3, 16)


class Repeated:
    """The same rows for ever."""

    def __init__(self, lengths: Sequence[int] = LENGTHS) -> None:
        random = np.random.default_rng(1)
        tokens = sum(lengths)
        self.rows = TokenRows(
            random.integers(3, VOCABULARY, tokens).astype(np.int32),
            np.array(lengths, np.int64),
            random.random(tokens) > 0.3,
            np.array(lengths, np.int64),
        )

    def next_rows(self) -> TokenRows:
        return self.rows


class Frozen(torch.optim.SGD):
    """Takes no step and keeps the gradients, so that they can be looked at."""

    def step(self, *args: Any, **kwargs: Any) -> None: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...


def run_of(policy: CausalPolicy, directory: Path, **changes: Any) -> Run:
    settings: dict[str, Any] = {
        "policy": policy,
        "objective": OBJECTIVES.load("clm")(),
        "rows": Repeated(),
        "optimizers": build_optimizers(policy, "adamw", learning_rate=1e-2, weight_decay=0.0),
        "schedule": schedule("constant", learning_rate=1e-2, steps=30),
        "steps": 30,
        "micro_batch_tokens": 10_000,
        "non_finite": NonFinite(directory),
    }
    return Run(**(settings | changes))


def gradients(policy: CausalPolicy, directory: Path, micro_batch_tokens: int) -> tuple[torch.Tensor, float]:
    optimizers = [Frozen(policy.parameters(), lr=0.0)]
    run = run_of(
        policy, directory, optimizers=optimizers, micro_batch_tokens=micro_batch_tokens, max_grad_norm=None
    )
    report = training_step(run)
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]), report.loss


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("micro_batch_tokens", [1, 40, 70], ids=["8×1", "in fours", "in twos"])
def test_gradients_do_not_depend_on_the_micro_batches(
    family: str, micro_batch_tokens: int, tmp_path: Path
) -> None:
    whole, loss = gradients(CausalPolicy(tiny(family), pad_id=0), tmp_path, 10_000)
    parts, same_loss = gradients(CausalPolicy(tiny(family), pad_id=0), tmp_path, micro_batch_tokens)
    assert same_loss == pytest.approx(loss, rel=1e-6)
    assert (parts - whole).norm() / whole.norm() < 1e-6


def test_packed_and_padded_give_the_gradients_of_the_plain_mean(tmp_path: Path) -> None:
    packed, loss = gradients(CausalPolicy(tiny("llama"), pad_id=0), tmp_path, 10_000)
    padding = CausalPolicy(tiny("llama"), pad_id=0)
    padding.packed_up_to = 0
    padding.model.set_attn_implementation("sdpa")
    padded, _ = gradients(padding, tmp_path, 10_000)
    plain = tiny("llama")
    rows = Repeated().rows
    batch = OBJECTIVES.load("clm")().collate(rows)
    total = torch.zeros(())
    for ids, labels in zip(
        batch.input_ids.split(list(LENGTHS)), batch.labels.split(list(LENGTHS)), strict=True
    ):
        logits = plain(input_ids=ids[None], use_cache=False).logits[0]
        total = total + F.cross_entropy(logits, labels, reduction="sum")
    mean = total / batch.trained_tokens
    mean.backward()
    expected = torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None])
    assert loss == pytest.approx(mean.item(), rel=1e-6)
    assert (packed - expected).norm() / expected.norm() < 1e-6
    assert (padded - expected).norm() / expected.norm() < 1e-6


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_model_learns_its_rows_by_heart(optimizer: str, tmp_path: Path) -> None:
    policy = CausalPolicy(tiny("llama"), pad_id=0)
    optimizers = build_optimizers(policy, optimizer, learning_rate=1e-2, weight_decay=0.0)
    losses: list[float] = []

    def watch(run: Run, report: StepReport) -> None:
        losses.append(report.loss)
        assert run.step == len(losses)

    assert fit(run_of(policy, tmp_path, optimizers=optimizers), [watch])
    assert losses[0] == pytest.approx(np.log(VOCABULARY), rel=0.05)
    assert losses[-1] < losses[0] / 2


def test_stopping_ends_after_the_step_in_hand(tmp_path: Path) -> None:
    run = run_of(CausalPolicy(tiny("llama"), pad_id=0), tmp_path)

    def stop(run: Run, report: StepReport) -> None:
        if run.step == 3:
            run.stop.set()

    assert not fit(run, [stop])
    assert run.step == 3


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_batch(tmp_path: Path) -> None:
    policy = CausalPolicy(tiny("llama"), pad_id=0)
    with torch.no_grad():
        policy.model.model.norm.weight.fill_(float("nan"))
    before = [p.clone() for p in policy.parameters()]
    with pytest.raises(TrainingError, match="not finite"):
        fit(run_of(policy, tmp_path), [])
    assert list(tmp_path.glob("non_finite-step-0.safetensors"))
    skipping = run_of(policy, tmp_path, non_finite=NonFinite(tmp_path, "skip"))
    assert training_step(skipping).skipped
    for old, new in zip(before, policy.parameters(), strict=True):
        assert torch.equal(old.nan_to_num(), new.nan_to_num())
