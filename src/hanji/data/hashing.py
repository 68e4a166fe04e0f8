"""Hashes of rows that are the same on every machine: for splits, ids and exact duplicates."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_SCALE = 2.0**64


def digest(text: str | bytes, salt: str = "") -> int:
    """64 bits of BLAKE2b of the text's UTF-8."""
    data = text if isinstance(text, bytes) else text.encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, salt=salt.encode()[:16]).digest(), "big")


def fraction(key: str, salt: str) -> float:
    """A number in [0, 1) that depends on `key` and `salt` alone and is spread evenly."""
    return min(digest(key, salt) / _SCALE, 1 - 2**-53)


class DigestSet:
    """Digests seen so far, at about eight bytes each.

    Sorted runs of uint64 whose sizes at least double towards the oldest, so that adding a digest costs
    O(log n) amortised; the newest few wait in a Python set. Among 10^8 rows the chance that any two
    different ones share a digest is 0.03 %.
    """

    def __init__(self, waiting: int = 1 << 16) -> None:
        self._waiting_limit = waiting
        self._waiting: set[int] = set()
        self._runs: list[NDArray[np.uint64]] = []

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._runs))

    def add(self, value: int) -> bool:
        """Adds a digest; False where it was there already."""
        if value in self._waiting:
            return False
        wanted = np.uint64(value)
        for run in self._runs:
            at = int(np.searchsorted(run, wanted))
            if at < len(run) and run[at] == wanted:
                return False
        self._waiting.add(value)
        if len(self._waiting) >= self._waiting_limit:
            self._merge()
        return True

    def _merge(self) -> None:
        run = np.sort(np.fromiter(self._waiting, np.uint64, len(self._waiting)))
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
        self._waiting.clear()
