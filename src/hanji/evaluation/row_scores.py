"""Scores of labels: accuracy, macro F1, Matthews, correlations; with intervals over the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.labels import LabelKind

RESAMPLES = 1000
CONFIDENCE = 0.95

Values = NDArray[Any]


def row_scores(
    kind: LabelKind, scores: Values, targets: Values, *, intervals: bool = True
) -> dict[str, float]:
    """The usual scores of a kind of label; the first of them with its interval, as `<name>_low` and `_high`.

    Args:
        scores: [rows, outputs] what the model said. targets: [rows, 1 or outputs] what was right.
        intervals: False leaves out `_low` and `_high`.

    Returns:
        Of classes: `accuracy`, `macro_f1`, `matthews`. Of several: `accuracy` (all right), `macro_f1`. Of
        numbers: `pearson`, `spearman`, `mean_squared_error`.
    """
    told = _with_interval if intervals else _alone
    if kind == "number":
        said, right = scores[:, 0].astype(np.float64), targets[:, 0].astype(np.float64)
        both = np.stack([said, right], 1)
        return {
            **told("pearson", both, lambda rows: pearson(rows[:, 0], rows[:, 1])),
            **told("spearman", both, lambda rows: spearman(rows[:, 0], rows[:, 1])),
            "mean_squared_error": float(((said - right) ** 2).mean()),
        }
    if kind == "several":
        chosen, held = scores > 0, targets > 0.5
        each = [f1(held[:, index], chosen[:, index]) for index in range(scores.shape[1])]
        correct = (chosen == held).all(1)
        return {**told("accuracy", correct[:, None], _mean), "macro_f1": float(np.mean(each))}
    said, right = scores.argmax(1), targets[:, 0].astype(np.int64)
    both, classes = np.stack([said, right], 1), scores.shape[1]
    return {
        **told("accuracy", (said == right)[:, None], _mean),
        **told("macro_f1", both, lambda rows: macro_f1(rows[:, 1], rows[:, 0], classes)),
        "matthews": matthews(right, said, classes),
    }


def pair_scores(correct: Values) -> dict[str, float]:
    """`accuracy` over pairs of answers, with its interval; correct: [pairs]."""
    return _with_interval("accuracy", correct[:, None], _mean)


def f1(right: Values, said: Values) -> float:
    """Harmonic mean of precision and recall of one class, [rows] bool each; 0 where it is never right."""
    both = float((right & said).sum())
    return 2 * both / max(float(right.sum() + said.sum()), 1.0)


def macro_f1(right: Values, said: Values, classes: int) -> float:
    """Mean of the classes' F1, over the classes that are there in `right` or `said`; [rows] class numbers."""
    counts = np.bincount(right * classes + said, minlength=classes * classes).reshape(classes, classes)
    sums = counts.sum(0) + counts.sum(1)
    there = sums > 0
    return float((2 * np.diag(counts)[there] / sums[there]).mean())


def matthews(right: Values, said: Values, classes: int) -> float:
    """Matthews' correlation of two classifications, for any number of classes (Gorodkin 2004); 0 where one
    side is constant."""
    counts = np.bincount(right * classes + said, minlength=classes * classes).reshape(classes, classes)
    counts = counts.astype(np.float64)
    rows, columns, total = counts.sum(1), counts.sum(0), counts.sum()
    covariance = np.trace(counts) * total - rows @ columns
    spread = np.sqrt((total**2 - columns @ columns) * (total**2 - rows @ rows))
    return float(covariance / spread) if spread else 0.0


def pearson(first: Values, second: Values) -> float:
    """Linear correlation; 0 where one side is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:  # their means may be rounded, and differ from all of them
        return 0.0
    a, b = first - first.mean(), second - second.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else 0.0


def spearman(first: Values, second: Values) -> float:
    """Correlation of ranks; equal values share the mean of their ranks."""
    return pearson(_ranks(first), _ranks(second))


def interval(rows: Values, score: Callable[[Values], float]) -> tuple[float, float]:
    """Where 95 % of the scores of rows drawn again with replacement lie (bootstrap, Efron 1979); the same
    rows give the same interval."""
    return bounds(np.array([score(rows[drawn]) for drawn in draws(len(rows))]))


def draws(rows: int) -> Iterator[NDArray[np.int64]]:
    """[rows] which rows are drawn, RESAMPLES times; for as many rows always the same ones, so that two models
    on the same rows can be compared draw by draw."""
    random = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        yield random.integers(rows, size=rows)


def bounds(scores: Values) -> tuple[float, float]:
    """The interval of scores of rows drawn again."""
    low, high = np.quantile(scores, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _with_interval(name: str, rows: Values, score: Callable[[Values], float]) -> dict[str, float]:
    low, high = interval(rows, score)
    return {name: score(rows), f"{name}_low": low, f"{name}_high": high}


def _alone(name: str, rows: Values, score: Callable[[Values], float]) -> dict[str, float]:
    return {name: score(rows)}


def _mean(rows: Values) -> float:
    return float(rows.mean())


def _ranks(values: Values) -> Values:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]
