"""Rows into bins of one sequence each, with hardly a token of room left and no row discarded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW_ROWS = 2**17
"""Rows packed together: enough to fill bins to the brim, few enough for little memory."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Which rows share a bin.

    Attributes:
        rows: [rows] int64, row numbers, bin after bin.
        offsets: [bins + 1] int64, where each bin begins in `rows`, and the end.
    """

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        return self.rows[self.offsets[index] : self.offsets[index + 1]]


def best_fit(lengths: NDArray[np.int64], capacity: int) -> Bins:
    """Best-fit decreasing: each row, longest first, goes where it leaves the least room.

    Bins are kept by the room they have left, and rows of one length are placed together: a bin with
    room r takes r // length of them before the next bin is looked at, which is what placing them one by one
    comes to. So the work grows with the number of bins changed, not with rows times bins. At most
    11/9 of the best possible number of bins, and a few (Johnson, 1973); in practice within a percent of it.

    Args:
        lengths: [rows], each in 1..capacity.
        capacity: tokens that a bin holds.

    Returns:
        Every row once. Whoever goes through the bins in order and cuts a part before each row that would
        not fit in `capacity` gets no more parts than there are bins.
    """
    if not len(lengths):
        return Bins(np.zeros(0, np.int64), np.zeros(1, np.int64))
    assert int(lengths.min()) >= 1, "an empty row"
    assert int(lengths.max()) <= capacity, "a row longer than a bin"
    order = np.argsort(-lengths, kind="stable")
    sizes, how_many = np.unique(lengths, return_counts=True)

    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    has_room = bytearray(capacity + 1)  # 1 where by_room is not empty; searched with the speed of memchr
    bin_of: list[int] = []  # along `order`
    opened = 0
    for size, count in zip(sizes[::-1].tolist(), how_many[::-1].tolist(), strict=True):
        while count:
            room = has_room.find(1, size)
            if room < 0:
                room, each = capacity, capacity // size
                bins = list(range(opened, opened - (-count // each)))
                opened += len(bins)
            else:
                bins, each = by_room[room], room // size
                by_room[room], has_room[room] = [], 0
            full, rest = divmod(count, each)
            taken, left = bins[:full], bins[full:]
            count -= _place(taken, each, bin_of)
            _shelve(taken, room - each * size, by_room, has_room)
            if left and rest:
                count -= _place(left[:1], rest, bin_of)
                _shelve(left[:1], room - rest * size, by_room, has_room)
                left = left[1:]
            _shelve(left, room, by_room, has_room)
    placed = np.array(bin_of, np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(placed, minlength=opened))])
    return Bins(order[np.argsort(placed, kind="stable")], offsets)


def _place(bins: list[int], each: int, bin_of: list[int]) -> int:
    """Puts the next rows into `bins`, `each` of them into every one; says how many went."""
    bin_of.extend(bins if each == 1 else [index for index in bins for _ in range(each)])
    return len(bins) * each


def _shelve(bins: list[int], room: int, by_room: list[list[int]], has_room: bytearray) -> None:
    if bins and room:
        by_room[room].extend(bins)
        has_room[room] = 1


def pack(lengths: NDArray[np.int64], capacity: int, random: np.random.Generator) -> Bins:
    """All rows in bins, packed in shuffled windows of `WINDOW_ROWS`, so that bins mix what was far apart."""
    order = random.permutation(len(lengths))
    packed = []
    for start in range(0, len(order), WINDOW_ROWS):
        window = order[start : start + WINDOW_ROWS]
        bins = best_fit(lengths[window], capacity)
        packed.append((window[bins.rows], np.diff(bins.offsets)))
    rows = np.concatenate([rows for rows, _ in packed] or [np.zeros(0, np.int64)])
    counts = np.concatenate([counts for _, counts in packed] or [np.zeros(0, np.int64)])
    return Bins(rows, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))
