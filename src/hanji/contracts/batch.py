"""What one optimizer step learns from: documents end to end, each knowing nothing of its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hanji.contracts.rows import TokenRows

IGNORED = -100
"""The label of a position that is not trained."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents of uneven length, concatenated without padding.

    Attributes:
        input_ids: [tokens] int64.
        labels: [tokens] int64, what the model should say *at* each position (for a causal objective the
            next token, already shifted), or IGNORED.
        lengths: tokens of each document; sums to `tokens`.
    """

    input_ids: Tensor
    labels: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def causal(cls, rows: TokenRows) -> Batch:
        """Next-token prediction over `rows`: position i is trained where token i + 1 of its row is."""
        ids = torch.from_numpy(rows.ids.astype(np.int64))
        targets = np.where(rows.trained, rows.ids, IGNORED).astype(np.int64)
        labels = np.full_like(targets, IGNORED)
        labels[:-1] = targets[1:]
        labels[rows.offsets[1:] - 1] = IGNORED  # the last token of a row predicts nothing
        return cls(ids, torch.from_numpy(labels), tuple(int(length) for length in rows.lengths))

    @property
    def tokens(self) -> int:
        """Real tokens, trained or not."""
        return int(self.input_ids.shape[0])

    @property
    def trained_tokens(self) -> int:
        """Positions with a label."""
        return int((self.labels != IGNORED).sum())

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        return Batch(self.input_ids.to(device), self.labels.to(device), self.lengths)

    def split(self, micro_batch_tokens: int) -> Iterator[Batch]:
        """Parts of at most `micro_batch_tokens` tokens, cut between documents; a longer one stands alone."""
        first, start, size = 0, 0, 0
        for index, length in enumerate(self.lengths):
            if size and size + length > micro_batch_tokens:
                yield self._part(first, index, start, size)
                first, start, size = index, start + size, 0
            size += length
        if size:
            yield self._part(first, len(self.lengths), start, size)

    def _part(self, first: int, last: int, start: int, size: int) -> Batch:
        span = slice(start, start + size)
        return Batch(self.input_ids[span], self.labels[span], self.lengths[first:last])

    def position_ids(self) -> Tensor:
        """[tokens], restarting at 0 with each document."""
        return torch.cat([torch.arange(length) for length in self.lengths]).to(self.input_ids.device)

    def padded(self, pad_id: int) -> tuple[Tensor, Tensor]:
        """The documents as rows, padded on the right.

        Returns:
            ids: [documents, longest], and mask: the same shape, bool, True at real tokens.
        """
        longest = max(self.lengths)
        lengths = torch.tensor(self.lengths, device=self.input_ids.device)
        mask = torch.arange(longest, device=self.input_ids.device)[None, :] < lengths[:, None]
        ids = torch.full_like(mask, pad_id, dtype=torch.int64)
        ids[mask] = self.input_ids
        return ids, mask
