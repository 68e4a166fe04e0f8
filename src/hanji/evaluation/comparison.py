"""Ways to adapt one model, side by side: which is best, which are level with it, and which is cheapest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

from hanji.evaluation.resampling import Quality
from hanji.evaluation.row_scores import bounds

LOWER_IS_BETTER: Final = frozenset({"loss", "perplexity", "bits_per_byte", "mean_squared_error"})


@dataclass(frozen=True, slots=True)
class Way:
    """One line of the comparison. What is not known is None.

    Attributes:
        name: of the method, numbered where it stands twice; of a baseline, the model's.
        role: a method, a model to be beaten, or `untried`: a way that was not measured.
        about: the method's options, in words.
        quality: on the held-out rows. `scores`: everything else that they tell.
        learning_rate: the highest. `steps`: of the optimizer.
        parameters: of the whole model. `trained_parameters`: those that learned.
        peak_memory_bytes, seconds: of the training. `bytes_on_disk`: of the weights that must be kept.
    """

    name: str
    role: Literal["method", "baseline", "untried"]
    about: str = ""
    quality: Quality | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    steps: int | None = None
    parameters: int | None = None
    trained_parameters: int | None = None
    peak_memory_bytes: float | None = None
    seconds: float | None = None
    bytes_on_disk: float | None = None

    @property
    def cost(self) -> float | None:
        """Memory times seconds: what a machine of that size costs for that long."""
        if self.peak_memory_bytes is None or self.seconds is None:
            return None
        return self.peak_memory_bytes * self.seconds


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one way is than another, in the score's unit; positive is better.

    Attributes:
        low, high: the interval; None where it is not known.
        paired: whether both were scored on the same rows, drawn together.
    """

    value: float
    low: float | None
    high: float | None
    paired: bool

    @property
    def told_apart(self) -> bool:
        """Whether the interval does not reach zero; without one, whether there is a difference at all."""
        if self.low is None or self.high is None:
            return self.value != 0
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Comparison:
    """All ways, in the order in which they were asked for.

    Attributes:
        score: which score the quality is. `objective`: of the task.
        held_out: what was scored, in words. `rows`: how many rows.
        in_training: whether the scores are those that training ended with, for want of others.
    """

    score: str
    objective: str
    ways: Sequence[Way]
    held_out: str = ""
    rows: int | None = None
    in_training: bool = False

    @property
    def lower_is_better(self) -> bool:
        """Which way the score goes."""
        return self.score in LOWER_IS_BETTER

    @cached_property
    def methods(self) -> list[Way]:
        """The methods that have a quality, the best first."""
        return self._ranked("method")

    @cached_property
    def baselines(self) -> list[Way]:
        """The baselines that have a quality, the best first."""
        return self._ranked("baseline")

    @property
    def level(self) -> list[Way]:
        """The best method, and those that the rows do not tell from it."""
        best = self.methods[0]
        return [way for way in self.methods if way is best or not self.difference(best, way).told_apart]

    @property
    def cheapest(self) -> Way:
        """Of those on a level: the least memory times seconds, or where that is not known the fewest trained
        parameters."""
        level = self.level
        if any(way.cost is None for way in level):
            return min(level, key=lambda way: way.trained_parameters or 0)
        return min(level, key=lambda way: way.cost or 0)

    def difference(self, way: Way, other: Way) -> Difference:
        """How much better `way` is than `other`.

        On the same rows it is of both scores in each draw, which leaves out what makes rows hard for every
        way; otherwise the interval is that of two independent scores.
        """
        one, two = way.quality, other.quality
        assert one is not None and two is not None, "only what has a quality is compared"
        sign = -1 if self.lower_is_better else 1
        value = sign * (one.value - two.value)
        if one.draws is not None and two.draws is not None and len(one.draws) == len(two.draws):
            if one.rows == two.rows:
                return Difference(value, *bounds(sign * (one.draws - two.draws)), paired=True)
            return Difference(value, *bounds(sign * (one.draws - two.draws[::-1])), paired=False)
        if one.low is None or one.high is None or two.low is None or two.high is None:
            return Difference(value, None, None, paired=False)
        # half-widths add up as independent errors do
        low, high = sorted((sign * (one.low - one.value), sign * (one.high - one.value)))
        other_low, other_high = sorted((sign * (two.low - two.value), sign * (two.high - two.value)))
        return Difference(
            value, value - float((low**2 + other_high**2) ** 0.5),
            value + float((high**2 + other_low**2) ** 0.5), paired=False,
        )  # fmt: skip

    def _ranked(self, role: str) -> list[Way]:
        sign = 1 if self.lower_is_better else -1
        known = [(sign * way.quality.value, way) for way in self.ways if way.role == role and way.quality]
        return [way for _, way in sorted(known, key=lambda pair: pair[0])]
