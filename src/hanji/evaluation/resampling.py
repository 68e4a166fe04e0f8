"""One score of a model with its interval, and the draws behind it, by which two models are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hanji.contracts.labels import Labels
from hanji.contracts.modes import evaluating
from hanji.contracts.protocols import Objective, Policy
from hanji.contracts.rows import TokenRows
from hanji.evaluation.held_out import Sums
from hanji.evaluation.row_scores import bounds, draws, pair_scores, row_scores

Draws = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a model is, on rows that it was not trained on.

    Attributes:
        value: the score of all rows.
        low, high: where 95 % of the scores of rows drawn again lie; None where it is not known.
        draws: those scores; None where they are not known.
        rows: how many rows.
    """

    value: float
    low: float | None = None
    high: float | None = None
    draws: Draws | None = None
    rows: int | None = None


def scored_rows(
    policy: Policy,
    objective: Objective,
    batches: Callable[[], Iterator[TokenRows]],
    device: torch.device | str,
    score: str,
) -> tuple[dict[str, float], Quality | None]:
    """All scores as `held_out_scores` gives them, and one of them with its interval.

    Labels and pairs are scored in batches. What is summed over tokens is scored a row at a time, and rows
    are drawn with all of their tokens: the tokens of a row are not independent of each other.

    Returns:
        The scores, and the quality; None where there is no score of this name.
    """
    labels: Labels | None = getattr(objective, "labels", None)
    with evaluating(cast("nn.Module", policy)):
        whole = Sums()
        for rows in batches():
            whole.score(policy, objective, rows, device)
        scores = whole.scores(labels)
        if score not in scores:
            return scores, None
        drawn = _of_observed(whole, labels, score)
        if drawn is None:
            parts = []
            for row in _one_by_one(batches()):
                parts.append(Sums())
                parts[-1].score(policy, objective, row, device)
            drawn = of_sums(whole, parts, score)
    values, count = drawn
    low, high = bounds(values)
    return scores, Quality(scores[score], low, high, values, count)


def of_sums(whole: Sums, parts: list[Sums], score: str) -> tuple[Draws, int]:
    """The score of rows drawn again, each with its sums and counts; [RESAMPLES], and the number of rows."""
    totals, counts = list(whole.totals), list(whole.counts)
    table = np.array(
        [
            [
                *(part.totals.get(name, 0.0) for name in totals),
                *(part.counts.get(unit, 0.0) for unit in counts),
                part.text_bytes,
            ]
            for part in parts
        ]
    )
    values = []
    for drawn in draws(len(parts)):
        *sums, text_bytes = (np.bincount(drawn, minlength=len(parts)) @ table).tolist()
        again = whole.like(
            dict(zip(totals, sums, strict=False)),
            dict(zip(counts, sums[len(totals) :], strict=True)),
            text_bytes,
        )
        values.append(again.scores().get(score, np.nan))
    known = np.array(values)
    return known[np.isfinite(known)], len(parts)


def _of_observed(whole: Sums, labels: Labels | None, score: str) -> tuple[Draws, int] | None:
    """As `of_sums`, for scores that follow from what was seen of each row; None for the others."""
    observed = whole.observed()
    if "correct" in observed:
        if score not in pair_scores(observed["correct"]):
            return None
        correct = observed["correct"]
        return np.array([correct[drawn].mean() for drawn in draws(len(correct))]), len(correct)
    if "scores" not in observed or labels is None:
        return None
    said, right, kind = observed["scores"], observed["targets"], labels.kind
    if score not in row_scores(kind, said, right, intervals=False):
        return None
    values = [
        row_scores(kind, said[drawn], right[drawn], intervals=False)[score] for drawn in draws(len(said))
    ]
    return np.array(values), len(said)


def _one_by_one(batches: Iterable[TokenRows]) -> Iterator[TokenRows]:
    for rows in batches:
        for row in range(len(rows)):
            yield rows.take(np.array([row]))
