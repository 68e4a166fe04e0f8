"""Learning rates as plain functions of the step, so that a resumed run needs no scheduler's memory."""

from __future__ import annotations

import math
from collections.abc import Callable

from hanji.contracts.errors import ConfigError

SCHEDULES = ("cosine", "linear", "wsd", "constant")


def schedule(
    name: str,
    *,
    learning_rate: float,
    steps: int,
    warmup: float = 0.0,
    decay: float = 0.2,
    minimum_ratio: float = 0.0,
) -> Callable[[int], float]:
    """The learning rate of each step, 0 to `steps` − 1.

    Args:
        name: `cosine` (Loshchilov & Hutter 2017), `linear`, `wsd` (warm-up, stable, decay: Hu et al. 2024) or
            `constant`.
        warmup: fraction of the steps over which the rate rises from nothing.
        decay: fraction of the steps over which `wsd` falls at the end.
        minimum_ratio: where the fall ends, as a fraction of `learning_rate`.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in SCHEDULES:
        raise ConfigError("unknown schedule", where="schedule", value=name, expected=", ".join(SCHEDULES))
    warmup_steps = round(warmup * steps)
    falling = {"cosine": 1 - warmup, "linear": 1 - warmup, "wsd": decay, "constant": 0.0}[name] * steps

    def rate(step: int) -> float:
        if step < warmup_steps:
            return learning_rate * (step + 1) / warmup_steps
        left = (steps - step) / falling if falling else 1.0
        if left >= 1:
            return learning_rate
        shape = (1 - math.cos(math.pi * left)) / 2 if name == "cosine" else left
        return learning_rate * (minimum_ratio + (1 - minimum_ratio) * shape)

    return rate
