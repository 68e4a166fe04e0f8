"""Token rows: what belongs to a row stays with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hanji.contracts.random_keys import mix
from hanji.contracts.rows import TokenRows


def rows_of(lengths: list[int], *, borders: bool = True, targets: int = 2, keys: bool = True) -> TokenRows:
    """Rows whose ids begin with their number, which everything else follows from."""
    numbers = np.arange(len(lengths))
    ids = np.concatenate([[number, *range(1, size)] for number, size in enumerate(lengths)])
    return TokenRows(
        ids.astype(np.int32),
        np.array(lengths),
        np.ones(len(ids), np.bool_),
        numbers * 7,
        numbers % 3 if borders else None,
        (numbers[:, None] + np.arange(targets) / 10) if targets else None,
        mix(numbers) if keys else None,
    )


def test_what_is_of_a_row_is_taken_with_it() -> None:
    rows = rows_of([3, 1, 5, 2])
    taken = rows.take(np.array([3, 0, 3]))
    assert taken.ids[taken.offsets[:-1]].tolist() == [3, 0, 3]
    assert taken.text_bytes.tolist() == [21, 0, 21]
    assert taken.borders is not None and taken.borders.tolist() == [0, 0, 0]
    assert taken.targets is not None and taken.targets.tolist() == [[3.0, 3.1], [0.0, 0.1], [3.0, 3.1]]
    assert taken.keys is not None and taken.keys.tolist() == mix(np.array([3, 0, 3])).tolist()
    bare = rows_of([3, 1], borders=False, targets=0, keys=False).take(np.array([1]))
    assert bare.borders is None and bare.targets is None and bare.keys is None


def test_parts_are_joined_with_what_belongs_to_them() -> None:
    first, second = rows_of([3, 1, 2]), rows_of([4, 2])
    whole = TokenRows.concatenate([first, second])
    for name in ("ids", "lengths", "borders", "targets", "keys"):
        joined = np.concatenate([getattr(first, name), getattr(second, name)])
        assert np.array_equal(getattr(whole, name), joined)


def test_pairs_of_texts_keep_their_borders_beside_single_texts() -> None:
    """One part of a mixture may have second texts, and another none."""
    paired, single = rows_of([3, 4, 2]), rows_of([5, 2], borders=False)
    for parts, borders in (([paired, single], [0, 1, 2, 0, 0]), ([single, paired], [0, 0, 0, 1, 2])):
        whole = TokenRows.concatenate(parts)
        assert whole.borders is not None and whole.borders.tolist() == borders
        assert whole.borders.dtype == np.int64
    assert TokenRows.concatenate([single, single]).borders is None


def test_targets_and_keys_that_a_part_lacks_the_whole_lacks() -> None:
    whole = TokenRows.concatenate([rows_of([3]), rows_of([2], targets=0, keys=False)])
    assert whole.targets is None and whole.keys is None


@pytest.mark.parametrize("field", ["borders", "targets", "keys"])
def test_one_of_each_for_every_row(field: str) -> None:
    rows = rows_of([3, 1])
    with pytest.raises(AssertionError, match="not as many as rows"):
        replace(rows, **{field: getattr(rows, field)[:1]})
