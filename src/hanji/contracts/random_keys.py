"""Random numbers by name instead of by turn: the same for the same seed, epoch and row, whoever asks.

What is random about a row (which of its tokens are masked) must not depend on what was drawn before, else a
run that is resumed, or one on two devices, would learn from other rows. So each is a hash of its coordinates:
splitmix64 (Steele, Lea and Flood 2014), whose 64 bits pass the usual tests of randomness.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_STEP = np.uint64(0x9E3779B97F4A7C15)


def mix(*coordinates: ArrayLike) -> NDArray[np.uint64]:
    """A hash of the coordinates, whole numbers or arrays of them, broadcast together: uint64."""
    with np.errstate(over="ignore"):
        state = np.zeros((), np.uint64)
        for coordinate in coordinates:
            state = _scramble((state ^ np.asarray(coordinate).astype(np.uint64)) + _STEP)
        return state


def uniform(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) from the 53 high bits of hashes."""
    return np.asarray((keys >> np.uint64(11)) * 2.0**-53)


def _scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))
