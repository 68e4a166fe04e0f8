"""Tokenised rows as flat arrays: the shape in which tokens are stored, packed and batched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Numbers = TypeVar("Numbers", bound=np.generic)


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Rows of token ids, one after another without padding.

    Attributes:
        ids: [tokens] int32, the rows end to end.
        lengths: [rows] int64, tokens of each row; sums to `tokens`.
        trained: [tokens] bool, whether something is learned at that token: that it is said, or what it hides.
        text_bytes: [rows] int64, UTF-8 bytes of the text that the trained tokens stand for (bits per byte).
        borders: [rows] int64, where the second part of a row begins (a second text, the other answer of a
            pair), 0 without one; None where no row has two parts.
        targets: [rows, targets] float64, what is learned of a row as a whole, as its class; None if nothing.
        keys: [rows] uint64, a number for this use of the row, from which an objective draws what is random
            about it (which tokens are masked); None where rows come straight from an encoder.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    trained: NDArray[np.bool_]
    text_bytes: NDArray[np.int64]
    borders: NDArray[np.int64] | None = None
    targets: NDArray[np.float64] | None = None
    keys: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        assert self.ids.shape == self.trained.shape, "ids and trained differ in length"
        assert self.lengths.shape == self.text_bytes.shape, "lengths and text_bytes differ in length"
        assert int(self.lengths.sum()) == len(self.ids), "lengths do not sum to the number of ids"
        for of_rows in (self.borders, self.targets, self.keys):
            assert of_rows is None or len(of_rows) == len(self.lengths), "not as many as rows"

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """[rows + 1], where each row begins in `ids`, and the end."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    @classmethod
    def concatenate(cls, parts: list[TokenRows]) -> TokenRows:
        """The rows of all parts, in order; targets and keys that some parts lack, the whole lacks."""
        borders = [part.borders for part in parts]
        if any(known is not None for known in borders):  # parts without second texts may stand beside others
            borders = [
                np.zeros(len(part), np.int64) if part.borders is None else part.borders for part in parts
            ]
        return cls(
            np.concatenate([part.ids for part in parts] or [np.zeros(0, np.int32)]),
            np.concatenate([part.lengths for part in parts] or [np.zeros(0, np.int64)]),
            np.concatenate([part.trained for part in parts] or [np.zeros(0, np.bool_)]),
            np.concatenate([part.text_bytes for part in parts] or [np.zeros(0, np.int64)]),
            _joined(borders),
            _joined([part.targets for part in parts]),
            _joined([part.keys for part in parts]),
        )

    def take(self, indices: NDArray[np.int64]) -> TokenRows:
        """The rows at `indices`, in that order."""
        starts, lengths = self.offsets[:-1][indices], self.lengths[indices]
        ends = np.cumsum(lengths)
        moved = np.repeat(starts - (ends - lengths), lengths)
        positions = np.arange(len(moved)) + moved
        return TokenRows(
            self.ids[positions], lengths, self.trained[positions], self.text_bytes[indices],
            None if self.borders is None else self.borders[indices],
            None if self.targets is None else self.targets[indices],
            None if self.keys is None else self.keys[indices],
        )  # fmt: skip


def _joined(parts: list[NDArray[Numbers] | None]) -> NDArray[Numbers] | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known and len(known) == len(parts) else None
