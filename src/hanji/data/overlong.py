"""What becomes of rows longer than the sequence, and of rows with nothing to learn: never in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.errors import DataError
from hanji.contracts.rows import TokenRows

Overlong = Literal["drop", "split", "error", "truncate"]


@dataclass(slots=True)
class RowCounts:
    """What happened to the rows given so far.

    Attributes:
        given: rows that came in.
        untrained: rows, or pieces of split rows, without a single token to learn; dropped.
        overlong: rows longer than the sequence, of which `dropped`, `split` (into `pieces`) or `truncated`.
        truncated_without_end: truncated rows that end in the middle of what is learned, so that the end of
            that turn or document is not learned from them.
        tokens_lost: tokens of over-long rows that are in no row any more.
    """

    given: int = 0
    untrained: int = 0
    overlong: int = 0
    dropped: int = 0
    split: int = 0
    pieces: int = 0
    truncated: int = 0
    truncated_without_end: int = 0
    tokens_lost: int = 0


def fit_rows(
    rows: TokenRows,
    sequence_length: int,
    overlong: Overlong,
    counts: RowCounts,
    name: Callable[[int], str] = "row {}".format,
) -> TokenRows:
    """The rows that can be trained on: at most `sequence_length` tokens, at least one of them learned.

    The first token of a row is context: nothing stands before it that could predict it, so it is marked
    as not trained. `split` makes pieces that overlap by that one token, so that every token is learned
    exactly once; `truncate` keeps the beginning, up to the last turn that fits whole (and of a row with
    targets the last token too, at which it is read). The bytes of the text are shared out in proportion to
    the trained tokens; those of split rows keep their sum.

    Args:
        rows: as an objective encoded them.
        counts: grows by what is done here.
        name: says which row is meant in an error, by its index in `rows`.

    Raises:
        DataError: a row is too long and `overlong` is `error`.
    """
    assert sequence_length >= 2, "a row needs a token of context and one to learn"
    counts.given += len(rows)
    rows = _without_first(rows)
    learned = trained_per_row(rows)
    kept = learned > 0 if rows.targets is None else np.ones(len(rows), np.bool_)
    if not kept.all():
        counts.untrained += int(len(rows) - kept.sum())
        rows, learned = rows.take(np.flatnonzero(kept)), learned[kept]
    too_long = rows.lengths > sequence_length
    if not too_long.any():
        return rows
    counts.overlong += int(too_long.sum())
    if overlong == "error":
        first = int(np.argmax(too_long))
        raise DataError(
            "a row is longer than the sequence",
            where=name(int(np.flatnonzero(kept)[first])),
            value=f"{rows.lengths[first]:,} tokens",
            expected=f"at most {sequence_length:,} tokens (sequence_length)",
            hint="raise sequence_length, or set overlong to drop, split or truncate",
        )
    if overlong == "drop":
        counts.dropped += int(too_long.sum())
        counts.tokens_lost += int(rows.lengths[too_long].sum())
        return rows.take(np.flatnonzero(~too_long))
    if overlong == "truncate" and rows.targets is not None:
        return _shorten(rows, sequence_length, counts)
    if overlong == "truncate":
        return _drop_untrained(_truncate(rows, learned, sequence_length, counts), counts)
    return _drop_untrained(_split(rows, learned, sequence_length, counts), counts)


def trained_per_row(rows: TokenRows) -> NDArray[np.int64]:
    """[rows], how many tokens of each row are trained."""
    if not len(rows):
        return np.zeros(0, np.int64)
    all_but_one = np.count_nonzero(rows.trained) == len(rows.ids) - len(rows)
    if all_but_one and (rows.lengths > 0).all() and not rows.trained[rows.offsets[:-1]].any():
        return rows.lengths - 1  # plain text: ten times quicker than the sums
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows.trained, dtype=np.int64)])
    return np.diff(sums[rows.offsets])


def _without_first(rows: TokenRows) -> TokenRows:
    """The same rows, the first token of each marked as not trained."""
    starts = rows.offsets[:-1][rows.lengths > 0]
    if not rows.trained[starts].any():
        return rows
    trained = rows.trained.copy()
    trained[starts] = False
    return replace(rows, trained=trained)


def _drop_untrained(rows: TokenRows, counts: RowCounts) -> TokenRows:
    kept = trained_per_row(rows) > 0
    counts.untrained += int(len(rows) - kept.sum())
    return rows if kept.all() else rows.take(np.flatnonzero(kept))


def _split(rows: TokenRows, learned: NDArray[np.int64], length: int, counts: RowCounts) -> TokenRows:
    """Pieces of at most `length` tokens, each beginning with the last token of the one before."""
    step = length - 1
    pieces = np.maximum(1, -(-(rows.lengths - 1) // step))
    source = np.repeat(np.arange(len(rows)), pieces)
    firsts = np.cumsum(pieces) - pieces
    nth = np.arange(len(source)) - firsts[source]
    lengths = np.minimum(length, rows.lengths[source] - nth * step)
    counts.split += int((pieces > 1).sum())
    counts.pieces += int(pieces[pieces > 1].sum())

    spans = _gather(rows, rows.offsets[source] + nth * step, lengths)
    spans.trained[spans.offsets[:-1]] = False
    # bytes of the row up to the end of each piece, rounded down, so that the pieces' shares sum to the whole
    in_piece = trained_per_row(spans)
    so_far = np.cumsum(in_piece)
    so_far -= (so_far - in_piece)[firsts[source]]
    reached = rows.text_bytes[source] * so_far // learned[source]
    before = np.where(nth > 0, np.concatenate([np.zeros(1, np.int64), reached[:-1]]), 0)
    return replace(spans, text_bytes=reached - before)


def _truncate(rows: TokenRows, learned: NDArray[np.int64], length: int, counts: RowCounts) -> TokenRows:
    """The beginning of each over-long row, ending with a whole turn where one fits."""
    lengths, offsets = rows.lengths.copy(), rows.offsets
    for row in np.flatnonzero(rows.lengths > length):
        trained = rows.trained[offsets[row] : offsets[row] + length + 1]
        cut = length
        if trained[length - 1] and trained[length]:  # the cut would fall inside what is learned
            ends = np.flatnonzero(trained[:-1] & ~trained[1:])
            cut = int(ends[-1]) + 1 if len(ends) else length
            counts.truncated_without_end += not len(ends)
        lengths[row] = cut
    counts.truncated += int((lengths < rows.lengths).sum())
    counts.tokens_lost += int((rows.lengths - lengths).sum())
    spans = _gather(rows, offsets[:-1], lengths)
    shares = np.rint(rows.text_bytes * (trained_per_row(spans) / learned)).astype(np.int64)
    return replace(spans, text_bytes=np.where(lengths < rows.lengths, shares, rows.text_bytes))


def _shorten(rows: TokenRows, length: int, counts: RowCounts) -> TokenRows:
    """Of rows that are learned as a whole: the beginning, and the last token, at which they are read."""
    lengths = np.minimum(rows.lengths, length)
    counts.truncated += int((lengths < rows.lengths).sum())
    counts.tokens_lost += int((rows.lengths - lengths).sum())
    positions = span_positions(rows.offsets[:-1], lengths)
    positions[np.cumsum(lengths) - 1] = rows.offsets[1:] - 1
    borders = None if rows.borders is None else np.minimum(rows.borders, lengths - 1)
    return replace(
        rows, ids=rows.ids[positions], lengths=lengths, trained=rows.trained[positions], borders=borders
    )


def _gather(rows: TokenRows, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> TokenRows:
    """Spans of `rows` as rows, their text_bytes still to be set."""
    positions = span_positions(starts, lengths)
    return TokenRows(rows.ids[positions], lengths, rows.trained[positions], np.zeros(len(lengths), np.int64))


def span_positions(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions start, start + 1, ... of each span, end to end."""
    ends = np.cumsum(lengths)
    positions = np.repeat(starts - (ends - lengths), lengths)
    positions += np.arange(len(positions))
    return positions
