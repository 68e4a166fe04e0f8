"""Tokenised rows as flat arrays: the shape in which tokens are stored, packed and batched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Rows of token ids, one after another without padding.

    Attributes:
        ids: [tokens] int32, the rows end to end.
        lengths: [rows] int64, tokens of each row; sums to `tokens`.
        trained: [tokens] bool, whether the model learns to produce that token.
        text_bytes: [rows] int64, UTF-8 bytes of the text that the trained tokens stand for (bits per byte).
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    trained: NDArray[np.bool_]
    text_bytes: NDArray[np.int64]

    def __post_init__(self) -> None:
        assert self.ids.shape == self.trained.shape, "ids and trained differ in length"
        assert self.lengths.shape == self.text_bytes.shape, "lengths and text_bytes differ in length"
        assert int(self.lengths.sum()) == len(self.ids), "lengths do not sum to the number of ids"

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """[rows + 1], where each row begins in `ids`, and the end."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    @classmethod
    def concatenate(cls, parts: list[TokenRows]) -> TokenRows:
        """The rows of all parts, in order."""
        return cls(
            np.concatenate([part.ids for part in parts] or [np.zeros(0, np.int32)]),
            np.concatenate([part.lengths for part in parts] or [np.zeros(0, np.int64)]),
            np.concatenate([part.trained for part in parts] or [np.zeros(0, np.bool_)]),
            np.concatenate([part.text_bytes for part in parts] or [np.zeros(0, np.int64)]),
        )

    def take(self, indices: NDArray[np.int64]) -> TokenRows:
        """The rows at `indices`, in that order."""
        starts, lengths = self.offsets[:-1][indices], self.lengths[indices]
        ends = np.cumsum(lengths)
        moved = np.repeat(starts - (ends - lengths), lengths)
        positions = np.arange(len(moved)) + moved
        return TokenRows(self.ids[positions], lengths, self.trained[positions], self.text_bytes[indices])
