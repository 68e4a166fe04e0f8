"""Which tokens are hidden, and behind what: drawn anew for each use of a row, from its key alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.random_keys import mix, uniform

Unit = Literal["tokens", "words", "spans"]

SPAN_ENDS = 0.2
"""Probability that a span ends with a word: lengths are geometric ..."""
LONGEST_SPAN = 10
"""... up to so many words, 3.8 in the mean (SpanBERT: Joshi et al. 2020)."""

_CHOICE, _CUT, _STAND_IN, _TOKEN = range(4)
"""What a random number is for, so that no two are the same."""


def choose(
    keys: NDArray[np.uint64],
    lengths: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    begins_word: NDArray[np.bool_],
    *,
    rate: float,
    unit: Unit,
) -> NDArray[np.bool_]:
    """[tokens] which are hidden: of each row `rate` of the allowed ones to the nearest token, one at least.

    Words and spans are hidden whole or not at all, so that the last of a row may go over its share.

    Args:
        keys: [rows]. lengths: [rows].
        allowed: [tokens] those that may be hidden, as special ones may not.
        begins_word: [tokens] whether a word begins at the token.
    """
    rows = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    of_token = keys[rows]
    new_row = within == 0
    begins = np.ones(len(rows), np.bool_)
    if unit != "tokens":
        begins = begins_word | new_row | ~allowed | np.roll(~allowed, 1)
    if unit == "spans":
        begins = _spans(begins, new_row | ~allowed | np.roll(~allowed, 1), of_token, within)
    units = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    sizes = np.bincount(units, weights=allowed).astype(np.int64)
    row_of_unit = rows[first]
    number = uniform(mix(of_token[first], within[first], _CHOICE))
    number[sizes == 0] = 2.0  # special tokens come last
    order = np.lexsort((number, row_of_unit))
    before = np.cumsum(sizes[order]) - sizes[order]
    per_row = np.bincount(rows, weights=allowed, minlength=len(lengths)).astype(np.int64)
    before -= (np.cumsum(per_row) - per_row)[row_of_unit[order]]
    wanted = np.maximum(np.rint(per_row * rate).astype(np.int64), 1)
    chosen = np.zeros(len(first), np.bool_)
    chosen[order] = before < wanted[row_of_unit[order]]
    return np.asarray(chosen[units] & allowed)


def replaced(
    ids: NDArray[np.int32],
    hidden: NDArray[np.bool_],
    keys: NDArray[np.uint64],
    lengths: NDArray[np.int64],
    *,
    mask_id: int,
    ordinary: NDArray[np.int32],
    shares: tuple[float, float],
) -> NDArray[np.int32]:
    """The ids that the model is shown: hidden ones are the mask, a random token, or stay as they are.

    Args:
        ordinary: ids to draw random tokens from.
        shares: of the mask and of random tokens; the rest stays (Devlin et al. 2019: 0.8, 0.1).
    """
    within = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    of_token = np.repeat(keys, lengths)[hidden]
    number = uniform(mix(of_token, within[hidden], _STAND_IN))
    drawn = ordinary[mix(of_token, within[hidden], _TOKEN) % np.uint64(len(ordinary))]
    own = ids[hidden]
    shown = ids.copy()
    shown[hidden] = np.where(
        number < shares[0], mask_id, np.where(number < shares[0] + shares[1], drawn, own)
    )
    return shown


def _spans(
    words: NDArray[np.bool_], forced: NDArray[np.bool_], keys: NDArray[np.uint64], within: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Of the beginnings of words, those at which a span begins: the forced ones, and from each of them on one
    span after another.

    Each word draws how long a span from it would be. Which words are reached so is found for all rows at
    once, by hops that double: one span further, then two, four, ...
    """
    at = np.flatnonzero(words)
    number = uniform(mix(keys[at], within[at], _CUT))
    stays = 1 - SPAN_ENDS
    length = 1 + np.floor(np.log1p(-number * (1 - stays**LONGEST_SPAN)) / np.log(stays)).astype(np.int64)
    starts = np.flatnonzero(forced[at])
    numbers, end = np.arange(len(at)), len(at)
    next_start = np.append(starts, end)[np.searchsorted(starts, numbers, side="right")]
    hop = np.append(np.minimum(numbers + length, next_start), end)
    reached = np.append(forced[at], True)
    for _ in range(int((next_start - numbers).max(initial=0)).bit_length()):
        reached[hop[reached]] = True
        hop = hop[hop]
    begins = np.zeros_like(words)
    begins[at[reached[:-1]]] = True
    return begins
