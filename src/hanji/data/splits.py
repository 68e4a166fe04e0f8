"""Which split a row belongs to, and how often it is used, by hash: adding rows never moves others."""

from __future__ import annotations

from collections.abc import Mapping

from hanji.contracts.errors import ConfigError
from hanji.data.hashing import fraction


class Splitter:
    """Places rows into splits.

    Args:
        shares: held-out split to its share of the rows; training gets the rest.
        seed: another seed is another split.

    Raises:
        ConfigError: the shares are negative, or leave nothing to train on.
    """

    def __init__(self, shares: Mapping[str, float], seed: int) -> None:
        if any(share < 0 for share in shares.values()) or sum(shares.values()) >= 1 or "train" in shares:
            raise ConfigError(
                "impossible shares of held-out rows",
                where="split",
                value=dict(shares),
                expected="shares of validation and test that add up to less than 1; training gets the rest",
            )
        self._shares = dict(shares)
        self._salt = f"split {seed}"

    def split(self, key: str) -> str:
        """The split of all rows with this key."""
        place, end = fraction(key, self._salt), 0.0
        for name, share in self._shares.items():
            end += share
            if place < end:
                return name
        return "train"


def copies(key: str, weight: float, seed: int) -> int:
    """How often a training row is used: the weight rounded up for a fixed part of the rows, else down."""
    whole = int(weight)
    if whole == weight:
        return whole
    return whole + (fraction(key, f"copies {seed}") < weight - whole)
