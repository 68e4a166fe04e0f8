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


def whole_batch(documents_per_row: int = 1) -> Batch:
    """Documents with segments and targets that say which they are of."""
    lengths = (3, 5, 2, 4, 6, 1)
    numbers = torch.repeat_interleave(torch.arange(6), torch.tensor(lengths))
    targets = torch.arange(6 // documents_per_row, dtype=torch.float32)[:, None] * 10
    return Batch(100 + numbers, numbers, lengths, numbers % 2, targets, documents_per_row)


@given(st.integers(1, 30), st.sampled_from([1, 2]))
def test_parts_keep_segments_and_targets_of_their_rows(budget: int, documents_per_row: int) -> None:
    batch = whole_batch(documents_per_row)
    parts = list(batch.split(budget))
    assert sum(part.rows for part in parts) == batch.rows == 6 // documents_per_row
    for part in parts:
        assert part.segments is not None and part.targets is not None
        assert len(part.lengths) % documents_per_row == 0
        documents = list(dict.fromkeys((part.input_ids - 100).tolist()))
        assert documents == list(range(documents[0], documents[0] + len(part.lengths)))
        assert part.targets[:, 0].tolist() == [
            10.0 * row
            for row in range(documents[0] // documents_per_row, documents[-1] // documents_per_row + 1)
        ]
        assert torch.equal(part.segments, part.labels % 2)
        assert part.tokens <= budget or part.rows == 1


def test_firsts_and_lasts() -> None:
    batch = whole_batch()
    assert batch.firsts().tolist() == [0, 3, 8, 10, 14, 20]
    assert batch.lasts().tolist() == [2, 7, 9, 13, 19, 20]
    assert (batch.input_ids[batch.firsts()] == batch.input_ids[batch.lasts()]).all()


def test_every_document_begins_with_a_soft_prompt() -> None:
    batch = whole_batch()
    begun = batch.beginning_with([7, 8])
    assert begun.lengths == tuple(length + 2 for length in batch.lengths)
    for ids, labels, segments, own in zip(
        *(part.split(begun.lengths) for part in (begun.input_ids, begun.labels, begun.segments)),
        batch.input_ids.split(batch.lengths),
        strict=True,
    ):
        assert ids[:2].tolist() == [7, 8] and torch.equal(ids[2:], own)
        assert labels[:2].tolist() == [IGNORED] * 2 and torch.equal(labels[2:], own - 100)
        assert segments[:2].tolist() == [0, 0] and torch.equal(segments[2:], (own - 100) % 2)
    assert begun.targets is batch.targets
    causal = Batch.causal(rows_of([3, 2]))
    assert causal.beginning_with([7]).segments is None


def test_to_a_device_takes_all_of_it() -> None:
    moved = whole_batch(2).to("meta")
    assert {
        tensor.device.type for tensor in (moved.input_ids, moved.labels, moved.segments, moved.targets)
    } == {"meta"}
    assert (moved.rows, moved.documents_per_row) == (3, 2)
