"""Lengths of rows: exact sums and extremes, quantiles from a histogram of fixed size."""

from __future__ import annotations

import math
from typing import Any

_BINS_PER_OCTAVE = 8


class Lengths:
    """Counts lengths into bins an eighth of an octave wide, so that any corpus takes the same memory."""

    def __init__(self) -> None:
        self.count, self.total = 0, 0
        self._least: int | None = None
        self._most = 0
        self._bins: dict[int, int] = {}

    def add(self, length: int, times: int = 1) -> None:
        """Counts a row of that length `times` times."""
        self.count += times
        self.total += length * times
        self._least = length if self._least is None else min(self._least, length)
        self._most = max(self._most, length)
        bin_ = math.floor(_BINS_PER_OCTAVE * math.log2(length)) if length else -1
        self._bins[bin_] = self._bins.get(bin_, 0) + times

    def quantile(self, share: float) -> int:
        """The length that `share` of the rows do not exceed, to about 5 %."""
        wanted, seen = share * self.count, 0
        for bin_ in sorted(self._bins):
            seen += self._bins[bin_]
            if seen >= wanted:
                middle = 2 ** ((bin_ + 0.5) / _BINS_PER_OCTAVE) if bin_ >= 0 else 0
                return min(max(round(middle), self._least or 0), self._most)
        return self._most

    def summary(self) -> dict[str, Any]:
        """Figures and a histogram over octaves: `counts[i]` rows of lengths [edges[i], edges[i + 1])."""
        octaves: dict[int, int] = {}
        for bin_, count in self._bins.items():
            octave = bin_ // _BINS_PER_OCTAVE
            octaves[octave] = octaves.get(octave, 0) + count
        span = range(min(octaves), max(octaves) + 1) if octaves else range(0)
        return {
            "total": self.total,
            "mean": self.total / self.count if self.count else 0.0,
            "min": self._least or 0,
            "median": self.quantile(0.5),
            "p90": self.quantile(0.9),
            "p99": self.quantile(0.99),
            "max": self._most,
            "histogram": {
                "edges": [int(2**octave) for octave in span] + ([2**span.stop] if span else []),
                "counts": [octaves.get(octave, 0) for octave in span],
            },
        }
