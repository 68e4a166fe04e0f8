"""Texts, alone or in pairs, between the special tokens that their tokenizer puts around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.protocols import Encoder
from hanji.contracts.rows import TokenRows

Spans = tuple[NDArray[np.int32], NDArray[np.int64]]
"""Ids of all rows, one after another: [tokens], and how many each has: [rows]."""


def frame_texts(encoder: Encoder, first: Sequence[str], second: Sequence[str | None]) -> TokenRows:
    """Each text, with the one that belongs to it where it has one, as the tokenizer itself frames them.

    `trained` marks the tokens of the texts; `borders` is where the second text begins, 0 without one.
    """
    count = len(first)
    ids, lengths = encoder.encode_texts([*first, *(text or "" for text in second)])
    cut = int(lengths[:count].sum())
    paired = np.array([text is not None for text in second])
    return frame_ids(encoder, (ids[:cut], lengths[:count]), (ids[cut:], lengths[count:]), paired)


def frame_ids(encoder: Encoder, first: Spans, second: Spans, paired: NDArray[np.bool_]) -> TokenRows:
    """As `frame_texts`, of texts that are ids already; `paired` says which rows have a second one."""
    frame, rows = encoder.frame, len(paired)
    parts = [
        _constant(frame.before, np.ones(rows, np.bool_)), first,
        _constant(frame.between, paired), second, _constant(frame.after, np.ones(rows, np.bool_)),
    ]  # fmt: skip
    lengths = np.stack([lengths for _, lengths in parts], 1)
    starts = np.cumsum(lengths.ravel()).reshape(lengths.shape) - lengths
    ids = np.empty(int(lengths.sum()), np.int32)
    of_text = np.zeros(len(ids), np.bool_)
    for index, (tokens, sizes) in enumerate(parts):
        places = np.repeat(starts[:, index] - (np.cumsum(sizes) - sizes), sizes) + np.arange(len(tokens))
        ids[places] = tokens
        of_text[places] = index in (1, 3)
    borders = np.where(paired, lengths[:, :3].sum(1), 0)
    return TokenRows(ids, lengths.sum(1), of_text, np.zeros(rows, np.int64), borders)


def segments(rows: TokenRows) -> NDArray[np.int64]:
    """[tokens] 1 from the border of a row on, 0 before it and in rows without one."""
    borders = np.zeros(len(rows), np.int64) if rows.borders is None else rows.borders
    within = np.arange(len(rows.ids)) - np.repeat(rows.offsets[:-1], rows.lengths)
    return (within >= np.repeat(np.where(borders > 0, borders, rows.lengths), rows.lengths)).astype(np.int64)


def _constant(tokens: Sequence[int], present: NDArray[np.bool_]) -> Spans:
    """The same tokens in every row where they are present."""
    rows = int(present.sum())
    return np.tile(np.array(tokens, np.int32), rows), present.astype(np.int64) * len(tokens)
