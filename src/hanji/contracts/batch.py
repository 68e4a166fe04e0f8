"""What one optimizer step learns from: documents end to end, each knowing nothing of its neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

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
            next token, already shifted; for a masked one the hidden token), or IGNORED.
        lengths: tokens of each document; sums to `tokens`.
        segments: [tokens] int64, 0 in the first text of a document and 1 in the second; None without second
            texts.
        targets: [rows, targets] float32, what is learned of each row as a whole; None if nothing is.
        documents_per_row: 2 where a row is a pair of answers, each a document of its own.
    """

    input_ids: Tensor
    labels: Tensor
    lengths: tuple[int, ...]
    segments: Tensor | None = None
    targets: Tensor | None = None
    documents_per_row: int = 1

    @classmethod
    def causal(cls, rows: TokenRows) -> Batch:
        """Next-token prediction over `rows`: position i is trained where token i + 1 of its row is."""
        ids = torch.from_numpy(rows.ids.astype(np.int64))
        targets = np.where(rows.trained, rows.ids, IGNORED).astype(np.int64)
        labels = np.full_like(targets, IGNORED)
        labels[:-1] = targets[1:]
        labels[rows.offsets[1:] - 1] = IGNORED  # the last token of a row predicts nothing
        return cls(ids, torch.from_numpy(labels), tuple(rows.lengths.tolist()))

    @property
    def tokens(self) -> int:
        """Real tokens, trained or not."""
        return int(self.input_ids.shape[0])

    @property
    def rows(self) -> int:
        """Rows: documents, or pairs of them."""
        return len(self.lengths) // self.documents_per_row

    @property
    def trained_tokens(self) -> int:
        """Positions with a label."""
        return int((self.labels != IGNORED).sum())

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        segments, targets = (
            None if tensor is None else tensor.to(device) for tensor in (self.segments, self.targets)
        )
        return replace(
            self, input_ids=self.input_ids.to(device), labels=self.labels.to(device),
            segments=segments, targets=targets,
        )  # fmt: skip

    def split(self, micro_batch_tokens: int) -> Iterator[Batch]:
        """Parts of at most `micro_batch_tokens` tokens, cut between rows; a longer one stands alone."""
        first, start, size = 0, 0, 0
        per_row = self.documents_per_row
        for index in range(0, len(self.lengths), per_row):
            length = sum(self.lengths[index : index + per_row])
            if size and size + length > micro_batch_tokens:
                yield self._part(first, index, start, size)
                first, start, size = index, start + size, 0
            size += length
        if size:
            yield self._part(first, len(self.lengths), start, size)

    def _part(self, first: int, last: int, start: int, size: int) -> Batch:
        span, rows = (
            slice(start, start + size),
            slice(*(at // self.documents_per_row for at in (first, last))),
        )
        return replace(
            self,
            input_ids=self.input_ids[span],
            labels=self.labels[span],
            lengths=self.lengths[first:last],
            segments=None if self.segments is None else self.segments[span],
            targets=None if self.targets is None else self.targets[rows],
        )

    def firsts(self) -> Tensor:
        """[documents] the position of each document's first token."""
        starts = list(accumulate(self.lengths, initial=0))[:-1]
        return torch.tensor(starts, device=self.input_ids.device)

    def lasts(self) -> Tensor:
        """[documents] the position of each document's last token."""
        return torch.tensor(list(accumulate(self.lengths)), device=self.input_ids.device) - 1

    def position_ids(self) -> Tensor:
        """[tokens], restarting at 0 with each document."""
        return torch.cat([torch.arange(length) for length in self.lengths]).to(self.input_ids.device)

    def beginning_with(self, ids: Sequence[int]) -> Batch:
        """The same documents, each with `ids` before it, which are not trained and of the first text."""
        lengths = tuple(length + len(ids) for length in self.lengths)
        before = torch.tensor(ids, device=self.input_ids.device)

        def each(tokens: Tensor, added: Tensor) -> Tensor:
            return torch.cat(
                [part for row in torch.split(tokens, list(self.lengths)) for part in (added, row)]
            )

        return replace(
            self,
            input_ids=each(self.input_ids, before),
            labels=each(self.labels, torch.full_like(before, IGNORED)),
            lengths=lengths,
            segments=None if self.segments is None else each(self.segments, torch.zeros_like(before)),
        )

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
