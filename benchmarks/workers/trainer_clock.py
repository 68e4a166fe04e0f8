"""Seconds, real tokens and rows of a transformers Trainer, after a step to warm up. Runs without hanji."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback

from benchmarks.workers.protocol import Answer

WARM_UP_STEPS = 1


class Clock(TrainerCallback):
    """Counts what passes through a trainer whose `training_step` calls `count`."""

    def __init__(self) -> None:
        self.tokens = self.rows = 0
        self.began = self.seconds = 0.0

    def count(self, *, tokens: int, rows: int) -> None:
        """A batch comes."""
        self.tokens += tokens
        self.rows += rows

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        now = time.perf_counter()
        if state.global_step <= WARM_UP_STEPS:
            self.began, self.tokens, self.rows = now, 0, 0
        self.seconds = now - self.began

    def timed(self, trainer: Any, steps: int) -> Answer:
        """What `steps` steps were, after one to warm up."""
        trainer.args.max_steps = steps + WARM_UP_STEPS
        trainer.train()
        return {"tokens": self.tokens, "rows": self.rows, "seconds": self.seconds}
