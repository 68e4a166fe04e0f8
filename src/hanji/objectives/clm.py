"""Causal language modelling: predict every next token of a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.protocols import Encoder
from hanji.contracts.rows import TokenRows
from hanji.objectives.likelihood import Likelihood


class CausalLanguageModelling(Likelihood):
    """Mean −log p(next token) over all tokens (Radford et al. 2018); rows are plain texts."""

    name = "clm"
    rows = "text"
    overlong = ("split", "drop", "error", "truncate")

    def encode(self, rows: Sequence[Mapping[str, Any]], encoder: Encoder) -> TokenRows:
        """Each text between the tokenizer's begin and end tokens, if it has them; all of it trained.

        A tokenizer without a begin token lets a document begin after the end of another, as its model saw it.
        """
        first = encoder.eos_id if encoder.bos_id is None else encoder.bos_id
        texts = [row["text"] for row in rows]
        ids, lengths = encoder.encode_texts(texts)
        text_bytes = np.fromiter((len(text.encode()) for text in texts), np.int64, len(texts))
        ids, lengths = _enclose(ids, lengths, first, encoder.eos_id)
        return TokenRows(ids, lengths, np.ones(len(ids), np.bool_), text_bytes)


def _enclose(
    ids: NDArray[np.int32], lengths: NDArray[np.int64], first: int | None, last: int | None
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Puts `first` before and `last` after each row, where they are not None."""
    enclosed_lengths = lengths + int(first is not None) + int(last is not None)
    ends = np.cumsum(enclosed_lengths)
    enclosed = np.empty(int(enclosed_lengths.sum()), np.int32)
    inside = np.ones(len(enclosed), np.bool_)
    for places, token in ((ends - enclosed_lengths, first), (ends - 1, last)):
        if token is not None:
            enclosed[places], inside[places] = token, False
    enclosed[inside] = ids
    return enclosed, enclosed_lengths
