"""What happens between the steps of a run: metrics, evaluation, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import psutil
import torch

from hanji.contracts.progress import Progress
from hanji.training.checkpoints import Checkpoints
from hanji.training.loop import Callback, Run, StepReport

__all__ = ["Advance", "Callback", "Evaluate", "Log", "Save", "Sink", "memory_bytes"]


class Sink(Protocol):
    """Where metrics go: `metrics.jsonl`, a tracker."""

    def write(self, metrics: Mapping[str, Any]) -> None:
        """One line of metrics."""

    def close(self) -> None:
        """No more lines will come."""


class Resumable(Protocol):
    """Something whose place in the data is part of a checkpoint."""

    def state(self) -> dict[str, Any]: ...


@dataclass
class Log:
    """Shows every step, and writes the mean of every `every` steps to the sinks."""

    progress: Progress
    sinks: list[Sink]
    every: int
    phase: str = "training"
    _losses: list[float] = field(default_factory=list)
    _tokens: int = 0
    _seconds: float = 0.0

    def __call__(self, run: Run, report: StepReport) -> None:
        """See the class."""
        if not run.parallel.main:
            return
        self._losses.append(report.loss)
        self._tokens += report.tokens
        self._seconds += report.seconds
        memory = memory_bytes(run.policy.device)
        speed = self._tokens / max(self._seconds, 1e-9)
        self.progress.advance(
            self.phase, run.step, run.steps,
            loss=report.loss, tokens_per_second=speed, memory_bytes=memory,
        )  # fmt: skip
        if run.step % self.every and run.step != run.steps:
            return
        line = {
            "step": run.step,
            "tokens": run.tokens,
            "loss": math.fsum(self._losses) / len(self._losses),
            "learning_rate": report.learning_rate,
            "gradient_norm": report.gradient_norm,
            "tokens_per_second": speed,
            "seconds": run.seconds,
            "memory_bytes": memory,
            **report.metrics,
        }
        for sink in self.sinks:
            sink.write(line)
        self._losses, self._tokens, self._seconds = [], 0, 0.0


@dataclass
class Evaluate:
    """Scores held-out rows every `every` steps (0: only at the end) and at the end.

    `latest` holds the newest scores, by the names of `metrics.jsonl`: `validation_loss`, ...
    """

    score: Callable[[], Mapping[str, float]]
    sinks: list[Sink]
    every: int
    latest: dict[str, float] = field(default_factory=dict)
    fresh: bool = False

    def __call__(self, run: Run, report: StepReport) -> None:
        """See the class."""
        self.fresh = run.step == run.steps or bool(self.every and run.step % self.every == 0)
        if not self.fresh:
            return
        self.latest = {f"validation_{name}": value for name, value in self.score().items()}
        if run.parallel.main:
            for sink in self.sinks:
                sink.write({"step": run.step, **self.latest})


@dataclass
class Save:
    """Writes a checkpoint every `every` steps (0: never), at a stop, and when scored if the best is kept."""

    checkpoints: Checkpoints
    stream: Resumable
    evaluation: Evaluate | None
    every: int
    keep_best: bool

    def __call__(self, run: Run, report: StepReport) -> None:
        """See the class."""
        scored = self.evaluation is not None and self.evaluation.fresh
        due = bool(self.every and run.step % self.every == 0) or run.stopping()
        if not due and not (self.keep_best and scored):
            return
        score = self.evaluation.latest.get("validation_loss") if scored and self.evaluation else None
        state = {
            "step": run.step,
            "tokens": run.tokens,
            "seconds": run.seconds,
            "stream": self.stream.state(),
            "non_finite": run.non_finite.state(),
            "validation": self.evaluation.latest if self.evaluation else {},
        }
        self.checkpoints.save(run.step, run.policy, run.optimizers, state, score=score)


class Advance:
    """Lets a method change what learns as the run goes on, where it has `advance(model, share)`: before the
    first step of this session, and before each other one."""

    def __init__(self, method: object, run: Run) -> None:
        self._advance = getattr(method, "advance", None)
        self._to(run)

    def __call__(self, run: Run, report: StepReport) -> None:
        """See the class."""
        self._to(run)

    def _to(self, run: Run) -> None:
        if self._advance is not None:
            self._advance(run.policy.model, run.step / run.steps)


def memory_bytes(device: torch.device) -> int:
    """Memory in use now: of the process on CPU, of PyTorch's allocator on CUDA."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)
