"""Best-fit decreasing, against placing the rows one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanji.data import packing
from hanji.data.packing import Bins, best_fit, pack

ROWS = st.integers(1, 40).flatmap(
    lambda capacity: st.tuples(st.lists(st.integers(1, capacity), max_size=120), st.just(capacity))
)


def _check(bins: Bins, lengths: np.ndarray, capacity: int) -> list[int]:
    """Every row once and no bin over its capacity; returns what each bin holds."""
    assert sorted(bins.rows.tolist()) == list(range(len(lengths)))
    held = [int(lengths[bins[index]].sum()) for index in range(len(bins))]
    assert all(0 < tokens <= capacity for tokens in held)
    return held


def _one_by_one(lengths: list[int], capacity: int) -> list[int]:
    """What each bin holds after best-fit decreasing as the textbook has it."""
    held: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [index for index, tokens in enumerate(held) if tokens + length <= capacity]
        if fitting:
            held[max(fitting, key=lambda index: held[index])] += length
        else:
            held.append(length)
    return held


@settings(deadline=None)
@given(ROWS)
def test_best_fit_is_the_textbooks(rows: tuple[list[int], int]) -> None:
    lengths, capacity = np.array(rows[0], np.int64), rows[1]
    held = _check(best_fit(lengths, capacity), lengths, capacity)
    assert sorted(held) == sorted(_one_by_one(rows[0], capacity))


@settings(deadline=None)
@given(ROWS)
def test_at_most_one_bin_is_half_empty(rows: tuple[list[int], int]) -> None:
    """The bound of first fit: two bins at most half full would have become one."""
    lengths, capacity = np.array(rows[0], np.int64), rows[1]
    held = _check(best_fit(lengths, capacity), lengths, capacity)
    assert sum(2 * tokens <= capacity for tokens in held) <= 1
    assert len(held) <= max(1, 2 * sum(held) / capacity + 1)


def test_an_exact_fit_is_found() -> None:
    lengths = np.array([3, 7, 5, 5, 9, 1, 10])
    bins = best_fit(lengths, 10)
    assert sorted(sorted(lengths[bins[index]].tolist()) for index in range(len(bins))) == [
        [1, 9],
        [3, 7],
        [5, 5],
        [10],
    ]


def test_bins_are_full_on_uneven_rows() -> None:
    lengths = np.random.default_rng(0).lognormal(5, 1, 20_000).astype(np.int64).clip(1, 2048)
    bins = best_fit(lengths, 2048)
    assert lengths.sum() / (len(bins) * 2048) > 0.998


def test_windows_lose_nothing_and_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "WINDOW_ROWS", 64)
    lengths = np.random.default_rng(1).integers(1, 100, 1000)
    first, again, other = (pack(lengths, 128, np.random.default_rng(seed)) for seed in (3, 3, 4))
    held = _check(first, lengths, 128)
    assert sum(held) / (len(held) * 128) > 0.9
    assert (first.rows == again.rows).all() and (first.offsets == again.offsets).all()
    assert (first.rows != other.rows).any()
    # a window takes rows from all over, so that what is packed together was not always side by side
    apart = [int(np.ptp(first[index])) for index in range(len(first)) if len(first[index]) > 1]
    assert np.median(apart) > 200


def test_no_rows() -> None:
    assert len(best_fit(np.zeros(0, np.int64), 8)) == 0
    assert len(pack(np.zeros(0, np.int64), 8, np.random.default_rng(0))) == 0


@pytest.mark.parametrize("lengths", [[0, 3], [3, 9]])
def test_impossible_rows_are_a_bug(lengths: list[int]) -> None:
    with pytest.raises(AssertionError):
        best_fit(np.array(lengths), 8)
