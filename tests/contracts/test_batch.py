from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hanji.contracts.batch import IGNORED, Batch
from hanji.contracts.rows import TokenRows


def rows_of(lengths: list[int], seed: int = 0) -> TokenRows:
    random = np.random.default_rng(seed)
    tokens = sum(lengths)
    return TokenRows(
        random.integers(0, 50, tokens).astype(np.int32),
        np.array(lengths, np.int64),
        random.random(tokens) > 0.5,
        np.array(lengths, np.int64),
    )


def test_labels_are_the_trained_next_tokens_of_the_same_row() -> None:
    ids = np.array([5, 6, 7, 8, 9], np.int32)
    trained = np.array([True, False, True, True, True])
    batch = Batch.causal(TokenRows(ids, np.array([3, 2]), trained, np.array([3, 2])))
    assert batch.labels.tolist() == [IGNORED, 7, IGNORED, 9, IGNORED]
    assert batch.position_ids().tolist() == [0, 1, 2, 0, 1]
    assert batch.trained_tokens == 2


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 100))
def test_parts_are_whole_documents_within_the_budget_and_nothing_is_lost(
    lengths: list[int], budget: int
) -> None:
    batch = Batch.causal(rows_of(lengths))
    parts = list(batch.split(budget))
    assert torch.equal(torch.cat([part.input_ids for part in parts]), batch.input_ids)
    assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
    assert sum((part.lengths for part in parts), ()) == batch.lengths
    assert all(part.tokens == sum(part.lengths) for part in parts)
    assert all(part.tokens <= budget or len(part.lengths) == 1 for part in parts)


def test_padding_keeps_documents_in_their_rows() -> None:
    batch = Batch.causal(rows_of([2, 4, 1]))
    ids, mask = batch.padded(pad_id=99)
    assert ids.shape == (3, 4)
    assert torch.equal(ids[mask], batch.input_ids)
    assert ids[~mask].tolist() == [99] * 5


def test_take_and_concatenate() -> None:
    rows = rows_of([3, 1, 5])
    taken = rows.take(np.array([2, 0]))
    assert taken.ids.tolist() == [*rows.ids[4:], *rows.ids[:3]]
    assert taken.lengths.tolist() == [5, 3]
    both = TokenRows.concatenate([taken, rows])
    assert len(both) == 5
    assert both.ids.tolist() == [*taken.ids, *rows.ids]
    assert len(TokenRows.concatenate([])) == 0


@pytest.mark.parametrize("lengths", [[], [1]])
def test_offsets(lengths: list[int]) -> None:
    assert rows_of(lengths).offsets.tolist() == [0, *np.cumsum(lengths).tolist()]
