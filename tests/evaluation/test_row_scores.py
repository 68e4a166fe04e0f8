"""Scores of labels: against scikit-learn and SciPy; and intervals that hold what they promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.reference_row_scores import cases
from hanji.evaluation import row_scores as module
from hanji.evaluation.row_scores import f1, interval, matthews, pair_scores, pearson, row_scores, spearman

REFERENCE = json.loads((Path(__file__).parent / "reference_row_scores.json").read_text("utf-8"))


@pytest.mark.parametrize("case", cases())
def test_as_scikit_learn_and_scipy(case: str) -> None:
    """`reference_row_scores.py` tells how its numbers were made."""
    kind, scores, targets = cases()[case]
    found = row_scores(kind, scores, targets)
    for name, expected in REFERENCE[case].items():
        assert found[name] == pytest.approx(expected, rel=1e-9, abs=1e-12), name
    others = {name.removesuffix("_low").removesuffix("_high") for name in found}
    assert others == set(REFERENCE[case])


@pytest.mark.parametrize("case", cases())
def test_intervals_are_around_their_scores_and_always_the_same(case: str) -> None:
    kind, scores, targets = cases()[case]
    found = row_scores(kind, scores, targets)
    assert found == row_scores(kind, scores, targets)
    for low in [name for name in found if name.endswith("_low")]:
        name = low.removesuffix("_low")
        assert found[low] <= found[name] + 0.02 and found[name] - 0.02 <= found[f"{name}_high"]
        assert found[f"{name}_high"] - found[low] < 0.4
    assert row_scores(kind, scores, targets, intervals=False) == {
        name: value for name, value in found.items() if not name.endswith(("_low", "_high"))
    }


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, 1e9 / 3])
def test_what_is_constant_has_no_correlation(constant: float) -> None:
    """Though its mean may be rounded, so that every row seems to lie a little aside of it."""
    same, other = np.full(173, constant), np.random.default_rng(0).normal(size=173)
    for correlation in (pearson, spearman):
        for pair in ((same, other), (other, same), (same, same), (same, np.full(173, 0.3))):
            assert correlation(*pair) == 0.0
    assert matthews(np.zeros(9, int), np.arange(9) % 3, 3) == 0.0


def test_correlations_that_are_whole() -> None:
    numbers = np.random.default_rng(0).normal(size=50)
    assert pearson(numbers, 3 * numbers + 1) == pytest.approx(1.0, abs=1e-12)
    assert pearson(numbers, -numbers) == pytest.approx(-1.0, abs=1e-12)
    assert spearman(numbers, np.exp(numbers)) == pytest.approx(1.0, abs=1e-12)


def test_pairs() -> None:
    correct = np.array([True] * 30 + [False] * 10)
    found = pair_scores(correct)
    assert found["accuracy"] == 0.75
    assert found["accuracy_low"] < 0.7 < 0.8 < found["accuracy_high"]
    assert pair_scores(np.ones(5, np.bool_)) == {"accuracy": 1.0, "accuracy_low": 1.0, "accuracy_high": 1.0}


def test_a_class_that_is_neither_said_nor_right_has_an_f1_of_zero() -> None:
    assert f1(np.zeros(3, np.bool_), np.zeros(3, np.bool_)) == 0.0
    assert f1(np.array([True, True, False]), np.array([True, False, True])) == 0.5


def _mean(rows: Any) -> float:
    return float(rows.mean())


def _pearson(rows: Any) -> float:
    return pearson(rows[:, 0], rows[:, 1])


def _shares(random: np.random.Generator) -> Any:
    return random.random((200, 1)) < 0.8


def _correlated(random: np.random.Generator) -> Any:
    first, second = random.normal(size=(2, 200))
    return np.stack([first, 0.6 * first + 0.8 * second], 1)


@pytest.mark.parametrize(("draw", "score", "right"), [(_shares, _mean, 0.8), (_correlated, _pearson, 0.6)])
def test_intervals_cover_what_is_right_nineteen_times_of_twenty(
    draw: Any, score: Any, right: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 300)
    random = np.random.default_rng(11)
    times, covered = 400, 0
    for _ in range(times):
        low, high = interval(draw(random), score)
        covered += low <= right <= high
    # four standard deviations of chance, and a per cent by which percentiles of few rows are too near
    assert 0.95 - 0.01 - 4 * 0.0109 < covered / times < 0.95 + 4 * 0.0109
