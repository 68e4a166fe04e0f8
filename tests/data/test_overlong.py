"""Rows that are too long: nothing learned twice, nothing lost without a count."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanji.contracts.errors import DataError
from hanji.contracts.rows import TokenRows
from hanji.data.overlong import RowCounts, fit_rows


def rows_of(masks: list[str], text_bytes: list[int] | None = None) -> TokenRows:
    """Rows from masks such as `..xx.` (x: trained); ids count through all rows, so that each is unique."""
    trained = np.array([mark == "x" for mask in masks for mark in mask], np.bool_)
    lengths = np.array([len(mask) for mask in masks], np.int64)
    sizes = np.array(text_bytes if text_bytes else [10 * len(mask) for mask in masks], np.int64)
    return TokenRows(np.arange(len(trained), dtype=np.int32), lengths, trained, sizes)


def masks_of(rows: TokenRows) -> list[str]:
    marks = "".join("x" if trained else "." for trained in rows.trained)
    return [marks[start:end] for start, end in zip(rows.offsets, rows.offsets[1:], strict=False)]


def learned_ids(rows: TokenRows) -> list[int]:
    """Ids that are targets: the first of a row cannot be."""
    first = np.zeros(len(rows.ids), np.bool_)
    first[rows.offsets[:-1][rows.lengths > 0]] = True
    return rows.ids[rows.trained & ~first].tolist()


ANY_ROWS = st.lists(st.text("x.", max_size=40), max_size=12)


@settings(deadline=None)
@given(ANY_ROWS, st.integers(2, 12), st.randoms(use_true_random=False))
def test_split_learns_every_token_exactly_once(masks: list[str], length: int, random) -> None:
    rows = rows_of(masks, [random.randrange(1000) for _ in masks])
    counts = RowCounts()
    fitted = fit_rows(rows, length, "split", counts)
    assert Counter(learned_ids(fitted)) == Counter(learned_ids(rows))
    assert all(2 <= size <= length for size in fitted.lengths)
    assert all("x" in mask[1:] and mask[0] == "." for mask in masks_of(fitted))
    learnable = np.array(["x" in mask[1:] for mask in masks], np.bool_)
    assert fitted.text_bytes.sum() == rows.text_bytes[learnable].sum()
    assert counts.given == len(masks)
    assert counts.split == sum(len(mask) > length and "x" in mask[1:] for mask in masks)
    assert counts.tokens_lost == 0
    untouched = sum(bool(keep) and len(mask) <= length for mask, keep in zip(masks, learnable, strict=True))
    assert len(fitted) == untouched + counts.pieces - (counts.untrained - int((~learnable).sum()))


@settings(deadline=None)
@given(ANY_ROWS, st.integers(2, 12), st.sampled_from(["drop", "truncate"]))
def test_no_token_goes_without_a_count(masks: list[str], length: int, overlong) -> None:
    rows, counts = rows_of(masks), RowCounts()
    fitted = fit_rows(rows, length, overlong, counts)
    assert all(2 <= size <= length for size in fitted.lengths)
    assert set(learned_ids(fitted)) <= set(learned_ids(rows))
    too_long = [mask for mask in masks if len(mask) > length and "x" in mask[1:]]
    assert counts.overlong == len(too_long) == counts.dropped + counts.truncated
    if overlong == "drop":
        assert len(fitted) == counts.given - counts.untrained - counts.dropped
        assert counts.tokens_lost == sum(map(len, too_long))


def test_a_split_document_overlaps_by_its_context() -> None:
    counts = RowCounts()
    fitted = fit_rows(rows_of(["xxxxxxxxxx"], [9]), 4, "split", counts)
    assert [ids.tolist() for ids in np.split(fitted.ids, fitted.offsets[1:-1])] == [
        [0, 1, 2, 3],
        [3, 4, 5, 6],
        [6, 7, 8, 9],
    ]
    assert masks_of(fitted) == [".xxx"] * 3
    assert fitted.text_bytes.tolist() == [3, 3, 3]
    assert (counts.split, counts.pieces) == (1, 3)


def test_truncate_ends_with_the_last_whole_turn() -> None:
    masks = ["..xx..xxxx", "..xx...xxx", "...xxxxxxx", "..xxxx...x"]
    counts = RowCounts()
    fitted = fit_rows(rows_of(masks, [60, 50, 70, 50]), 7, "truncate", counts)
    #  second turn cut: back to the first; cut in context: as much as fits; first turn cut: counted
    assert masks_of(fitted) == ["..xx", "..xx...", "...xxxx", "..xxxx."]
    assert fitted.text_bytes.tolist() == [20, 20, 40, 40]
    assert (counts.truncated, counts.truncated_without_end, counts.tokens_lost) == (4, 1, 15)


def test_a_truncated_row_with_nothing_left_to_learn_is_dropped() -> None:
    counts = RowCounts()
    fitted = fit_rows(rows_of(["......xxx", ".xx"]), 5, "truncate", counts)
    assert masks_of(fitted) == [".xx"]
    assert counts.untrained == 1


def test_error_names_the_row() -> None:
    with pytest.raises(DataError, match="9 tokens") as caught:
        fit_rows(rows_of(["...", ".xx", ".xxxxxxxx"]), 4, "error", RowCounts(), "line {}".format)
    assert caught.value.where == "line 2"
    assert "sequence_length" in str(caught.value)


def test_rows_that_fit_are_left_alone() -> None:
    counts = RowCounts()
    fitted = fit_rows(rows_of(["xxx", "", ".", "x", "..x"], [7, 1, 1, 1, 2]), 3, "error", counts)
    assert masks_of(fitted) == [".xx", "..x"]
    assert fitted.text_bytes.tolist() == [7, 2]
    assert counts == RowCounts(given=5, untrained=3)


def test_the_encoders_rows_are_not_written_to() -> None:
    rows = rows_of(["xxxxx", "xx"])
    for overlong in ("split", "truncate", "drop"):
        fit_rows(rows, 3, overlong, RowCounts())
    assert rows.trained.all()


def whole_rows(lengths: list[int], borders: list[int] | None = None) -> TokenRows:
    """Rows that are learned as a whole: no token of theirs is trained."""
    rows = rows_of(["." * length for length in lengths])
    targets = np.arange(2.0 * len(lengths)).reshape(-1, 2)
    return replace(rows, borders=None if borders is None else np.array(borders), targets=targets)


def ids_of(rows: TokenRows) -> list[list[int]]:
    return [part.tolist() for part in np.split(rows.ids, rows.offsets[1:-1])]


def test_rows_with_targets_are_kept_though_no_token_is_trained() -> None:
    counts = RowCounts()
    fitted = fit_rows(whole_rows([3, 2]), 4, "drop", counts)
    assert ids_of(fitted) == [[0, 1, 2], [3, 4]]
    assert fitted.targets is not None and fitted.targets.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert counts == RowCounts(given=2)


def test_what_is_learned_as_a_whole_keeps_its_beginning_and_its_last_token() -> None:
    rows, counts = whole_rows([6, 3, 4, 9], borders=[4, 0, 2, 0]), RowCounts()
    fitted = fit_rows(rows, 4, "truncate", counts)
    assert ids_of(fitted) == [[0, 1, 2, 5], [6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 21]]
    assert fitted.borders is not None and fitted.targets is not None and rows.targets is not None
    assert fitted.borders.tolist() == [3, 0, 2, 0]  # a border is never beyond the last token
    assert fitted.targets.tolist() == rows.targets.tolist()
    assert (counts.overlong, counts.truncated, counts.tokens_lost) == (2, 2, 7)
    assert rows.ids.tolist() == list(range(22)), "the given rows are not written to"


@settings(deadline=None)
@given(
    st.lists(st.integers(2, 30), min_size=1, max_size=8),
    st.integers(2, 12),
    st.randoms(use_true_random=False),
)
def test_shortened_rows(lengths: list[int], length: int, random) -> None:
    rows = whole_rows(lengths, [random.randrange(size) for size in lengths])
    counts = RowCounts()
    fitted = fit_rows(rows, length, "truncate", counts)
    assert fitted.borders is not None and rows.borders is not None
    assert len(fitted) == len(rows)
    for own, short, before, after in zip(
        ids_of(rows), ids_of(fitted), rows.borders.tolist(), fitted.borders.tolist(), strict=True
    ):
        assert len(short) == min(length, len(own))
        assert short[:-1] == own[: len(short) - 1] and short[-1] == own[-1]
        assert after == min(before, len(short) - 1) and (after > 0) == (before > 0)
    assert counts.tokens_lost == sum(lengths) - int(fitted.lengths.sum())


@pytest.mark.parametrize("overlong", ["drop", "error"])
def test_other_ways_keep_targets_and_borders_too(overlong) -> None:
    rows = whole_rows([6, 3, 4], borders=[4, 2, 3])
    if overlong == "error":
        with pytest.raises(DataError, match="6 tokens"):
            fit_rows(rows, 5, overlong, RowCounts())
        return
    fitted = fit_rows(rows, 5, overlong, RowCounts())
    assert fitted.borders is not None and fitted.borders.tolist() == [2, 3]
    assert fitted.targets is not None and fitted.targets.tolist() == [[2.0, 3.0], [4.0, 5.0]]
