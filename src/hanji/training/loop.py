"""The training loop: one for every model, method and objective. Everything else is a callback around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

import torch

from hanji.contracts.batch import Batch
from hanji.contracts.protocols import Objective
from hanji.contracts.rows import TokenRows
from hanji.models.policies import ModelPolicy
from hanji.training.non_finite import NonFinite
from hanji.training.optimizers import set_learning_rate
from hanji.training.parallel import Parallel


class Rows(Protocol):
    """Where the loop's rows come from; `data.TrainingStream` is one."""

    def next_rows(self) -> TokenRows:
        """This rank's rows of the next step."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step of the optimizer was, over all ranks.

    Attributes:
        loss: mean over the objective's units.
        metrics: further means, as `accuracy`.
        gradient_norm: before clipping.
        tokens: real tokens, trained or not.
        skipped: whether the step was left out because something was not finite.
    """

    loss: float
    metrics: Mapping[str, float]
    gradient_norm: float
    learning_rate: float
    tokens: int
    seconds: float
    skipped: bool = False


@dataclass
class Run:
    """A training run between its steps: all that the loop and its callbacks share.

    Attributes:
        schedule: learning rate of each step.
        micro_batch_tokens: tokens that go through the model at once.
        max_grad_norm: the gradient's norm is clipped to this; None: never.
        steps: where the run ends. `step`: steps done. `tokens`, `seconds`: so far, over all sessions.
        stop: set when the run shall end after the step in hand.
    """

    policy: ModelPolicy
    objective: Objective
    rows: Rows
    optimizers: Sequence[torch.optim.Optimizer]
    schedule: Callable[[int], float]
    steps: int
    micro_batch_tokens: int
    non_finite: NonFinite
    max_grad_norm: float | None = 1.0
    parallel: Parallel = field(default_factory=Parallel.single)
    stop: Event = field(default_factory=Event)
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def stopping(self) -> bool:
        """Whether any rank was asked to stop."""
        return bool(self.parallel.max(self.stop.is_set()))


class Callback(Protocol):
    """Something that happens between steps."""

    def __call__(self, run: Run, report: StepReport) -> None:
        """Called after each step; `run.step` counts it already."""


def fit(run: Run, callbacks: Sequence[Callback]) -> bool:
    """Trains until `run.steps`, or until `run.stop` is set.

    Returns:
        Whether the run came to its end.
    """
    run.policy.train()
    while run.step < run.steps and not run.stopping():
        report = training_step(run)
        run.step += 1
        run.tokens += report.tokens
        run.seconds += report.seconds
        for callback in callbacks:
            callback(run, report)
    return run.step >= run.steps


def training_step(run: Run) -> StepReport:
    """One step of the optimizer: the whole of training.

    Raises:
        TrainingError: for a loss or gradient that is not finite, where the run is to stop at one.
    """
    began = time.perf_counter()
    rate = run.schedule(run.step)
    set_learning_rate(run.optimizers, rate)
    batch = run.objective.collate(run.rows.next_rows()).to(run.policy.device)
    sums: dict[str, float] = {"loss": 0.0, "tokens": batch.tokens}
    norm, skipped = 0.0, False
    for ready in run.objective.prepare(run.policy, batch):
        counts = run.parallel.sum(run.objective.counts(ready))
        for part, weight, last in _parts(run, ready):
            run.parallel.set_last_backward(run.policy, last)
            loss = run.objective.loss(run.policy, part)
            share = loss.normalised(counts) * weight
            share.backward()  # type: ignore[no-untyped-call]
            sums["loss"] += float(share.detach())
            for name, (total, unit) in loss.metrics.items():
                sums[name] = sums.get(name, 0.0) + weight * total / (counts[unit] or 1)
            del loss, share  # else this graph lives on through the next forward, and breaks up the heap
        norm = run.parallel.clip_grad_norm(run.policy.parameters(), run.max_grad_norm)
        whole = run.parallel.sum(sums)
        skipped = run.non_finite.refuses(run.step, whole["loss"], norm, batch)
        for optimizer in run.optimizers:
            if not skipped:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    tokens, mean = int(whole.pop("tokens")), whole.pop("loss")
    return StepReport(mean, whole, norm, rate, tokens, time.perf_counter() - began, skipped)


def _parts(run: Run, batch: Batch) -> Iterator[tuple[Batch, float, bool]]:
    """Micro-batches, their weights, and whether it is the last: as many on every rank, which must keep step.

    A rank with fewer repeats its last one with weight 0.
    """
    parts = list(batch.split(run.micro_batch_tokens))
    count = int(run.parallel.max(len(parts)))
    for index in range(count):
        yield parts[min(index, len(parts) - 1)], float(index < len(parts)), index == count - 1
