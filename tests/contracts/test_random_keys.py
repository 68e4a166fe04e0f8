"""Random numbers by name: known values, evenly spread, and each like no neighbour of its coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hanji.contracts.random_keys import mix, uniform

BUCKETS = 256
PINNED = [16375629617440918755, 2569182171174244380, 6581035652732800351]
PINNED_UNIFORM = [0.8833108082136426, 0.5665615751722809, 0.5911897341980794]


def chi_square(numbers: NDArray[np.float64]) -> float:
    """How uneven the buckets are, in standard deviations of what chance gives."""
    counts = np.bincount((numbers.ravel() * BUCKETS).astype(int), minlength=BUCKETS)
    expected = numbers.size / BUCKETS
    return float((((counts - expected) ** 2 / expected).sum() - (BUCKETS - 1)) / np.sqrt(2 * (BUCKETS - 1)))


def test_of_one_coordinate_it_is_splitmix64() -> None:
    """The first numbers of the published generator, seeded with 0 and with 1234567."""
    assert int(mix(0)) == 0xE220A8397B1DCDAF
    assert int(mix(1234567)) == 6457827717110365317


def test_known_values_stay_what_they_are() -> None:
    """A run that is resumed with a later version must hide the same tokens."""
    assert [int(value) for value in mix(5, np.arange(3), 7)] == PINNED
    assert uniform(mix(np.arange(3))).tolist() == PINNED_UNIFORM


@pytest.mark.parametrize(
    "coordinates",
    [
        (np.arange(200_000),),
        (3, np.arange(200_000)),
        (np.arange(200_000), 3),
        (np.arange(500)[:, None], np.arange(400)),
        (7, 0, np.arange(400)[:, None], np.arange(500), 2),
        (mix(1, np.arange(400))[:, None], np.arange(500), 0),
    ],
    ids=["row", "seed and row", "row and use", "epoch and row", "stream", "key and position"],
)
def test_buckets_are_even(coordinates: Any) -> None:
    numbers = uniform(mix(*coordinates))
    assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(chi_square(numbers)) < 4
    assert abs(chi_square(numbers * BUCKETS % 1)) < 4  # of the bits below, too
    assert len(np.unique(mix(*coordinates))) == numbers.size


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_are_not_alike(axis: int) -> None:
    """Rows, epochs and positions: from one to the next the numbers have nothing to do with each other."""
    numbers = uniform(mix(3, np.arange(60)[:, None, None], np.arange(60)[:, None], np.arange(60)))
    moved = np.roll(numbers, 1, axis)
    correlation = np.corrcoef(numbers.ravel(), moved.ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(numbers.size)
    pairs = (numbers * 16).astype(int) * 16 + (moved * 16).astype(int)
    assert abs(chi_square((pairs + 0.5) / 256)) < 4


def test_half_of_the_bits_change_with_any_bit_of_a_coordinate() -> None:
    rows = np.arange(2000, dtype=np.uint64)
    for place in range(3):
        for bit in (0, 1, 7, 31, 63):
            before: list[Any] = [np.uint64(9), np.uint64(4), np.uint64(2)]
            before[place] = rows
            after = list(before)
            after[place] = rows ^ (np.uint64(1) << np.uint64(bit))
            changed = np.bitwise_count(mix(*before) ^ mix(*after))
            assert abs(changed.mean() - 32) < 4 * 4 / np.sqrt(len(rows))


def test_the_order_of_coordinates_counts_and_so_does_their_number() -> None:
    seen = {
        int(mix(*coordinates))
        for coordinates in [(1, 2), (2, 1), (1,), (2,), (1, 2, 0), (0, 1, 2), (1, 0), (0, 1)]
    }
    assert len(seen) == 8


def test_kinds_of_whole_numbers_are_one() -> None:
    for kind in (np.int32, np.int64, np.uint64):
        assert mix(np.arange(5, dtype=kind), 3).tolist() == mix([0, 1, 2, 3, 4], 3).tolist()
    assert mix(np.arange(4)[:, None], np.arange(3)).shape == (4, 3)
    assert mix(np.arange(0)).shape == (0,)
    assert mix(2).dtype == mix(np.arange(2)).dtype == np.uint64
