"""The training stream: every row once an epoch, in the right shares, the same for any number of ranks."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hanji.contracts.errors import ConfigError, DataError, TrainingError
from hanji.contracts.random_keys import mix
from hanji.contracts.rows import TokenRows
from hanji.data.stream import TrainingStream, held_out_batches
from hanji.data.token_store import TokenStore, build_token_store

LENGTH = 64


def make_store(directory: Path, rows: int, number: int = 1, longest: int = LENGTH) -> TokenStore:
    """Rows that can be told apart: the first ids are the store's number and the row's."""
    random = np.random.default_rng(number)
    lengths = random.integers(3, longest + 1, rows)
    starts = np.cumsum(lengths) - lengths
    ids = random.integers(0, 50, lengths.sum(), dtype=np.int32)
    ids[starts], ids[starts + 1] = number, np.arange(rows)
    tokens = TokenRows(ids, lengths, np.ones(len(ids), np.bool_), lengths)
    return build_token_store(
        iter([[{}] * rows]), lambda _: tokens, directory, sequence_length=longest, overlong="error"
    )


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[TokenStore]:
    directory = tmp_path_factory.mktemp("stores")
    return [make_store(directory / str(n), rows, n) for n, rows in enumerate([101, 40, 300])]


def stream_of(stores: list[TokenStore], weights: list[float] | None = None, **options: Any) -> TrainingStream:
    return TrainingStream(
        stores, weights, **({"sequence_length": LENGTH, "batch_tokens": 4 * LENGTH, "seed": 5} | options)
    )


def rows_of(rows: TokenRows) -> list[tuple[int, int]]:
    """(store, row) of each."""
    starts = rows.offsets[:-1]
    return list(zip(rows.ids[starts].tolist(), rows.ids[starts + 1].tolist(), strict=True))


def taken_by(stream: TrainingStream, steps: int) -> list[list[tuple[int, int]]]:
    return [rows_of(stream.next_rows()) for _ in range(steps)]


def test_an_epoch_is_every_row_once(stores: list[TokenStore]) -> None:
    bins = stream_of(stores[:1]).bins_per_epoch
    stream = stream_of(stores[:1], batch_tokens=LENGTH)  # a bin a batch: epochs end with a batch
    assert stream.steps_per_epoch == bins
    every = {(0, row): 1 for row in range(101)}
    epochs = [taken_by(stream, stream.steps_per_epoch) for _ in range(3)]
    for number, epoch in enumerate(epochs):
        assert Counter(row for batch in epoch for row in batch) == every, number
    assert epochs[0] != epochs[1] != epochs[2]  # in another order
    assert stream.epoch == 3


def test_batches_run_over_the_end_of_an_epoch(stores: list[TokenStore]) -> None:
    stream = stream_of(stores[:1])
    bins = int(stream.bins_per_epoch)
    assert bins % 4, "the case is that they do not divide"
    counts = Counter(row for batch in taken_by(stream, bins) for row in batch)  # 4 epochs to the bin
    assert counts == {(0, row): 4 for row in range(101)}
    assert stream.epoch == 4
    assert stream.steps(4) == bins and stream.steps(0.5) == -(-bins // 8)


def test_a_store_smaller_than_a_batch(tmp_path: Path) -> None:
    stream = stream_of([make_store(tmp_path / "s", 2, longest=10)], batch_tokens=8 * LENGTH)
    assert Counter(rows_of(stream.next_rows())) == {(1, 0): 8, (1, 1): 8}
    assert (stream.steps_per_epoch, stream.epoch) == (1, 8)


def test_a_batch_holds_to_its_tokens(stores: list[TokenStore]) -> None:
    stream = stream_of(stores[2:], batch_tokens=4 * LENGTH + LENGTH // 2)
    sizes = [len(stream.next_rows().ids) for _ in range(50)]
    assert stream.bins_per_batch == 4 and max(sizes) <= 4 * LENGTH
    assert np.mean(sizes) > 0.95 * 4 * LENGTH
    assert stream_of(stores, batch_tokens=1).bins_per_batch == 1


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_the_same_batches(stores: list[TokenStore], world_size: int) -> None:
    whole = taken_by(stream_of(stores), 40)
    ranks = [taken_by(stream_of(stores, rank=rank, world_size=world_size), 40) for rank in range(world_size)]
    for step in range(40):
        shares = [rank[step] for rank in ranks]
        assert sorted(row for share in shares for row in share) == sorted(whole[step])
        assert all(shares)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 4), (4, 1), (2, 3)])
@pytest.mark.parametrize("steps", [0, 1, 33])
def test_resume_is_exact_on_any_number_of_ranks(
    stores: list[TokenStore], before: int, after: int, steps: int
) -> None:
    whole = stream_of(stores, [1, 2, 3])
    taken_by(whole, steps)
    first = stream_of(stores, [1, 2, 3], rank=before - 1, world_size=before)
    taken_by(first, steps)
    state = json.loads(json.dumps(first.state()))
    assert state == whole.state()
    resumed = [stream_of(stores, [1, 2, 3], rank=rank, world_size=after) for rank in range(after)]
    for stream in resumed:
        stream.load_state(state)
    for expected in taken_by(whole, 40):
        assert sorted(row for stream in resumed for row in rows_of(stream.next_rows())) == sorted(expected)
    assert resumed[0].state() == whole.state()


def test_resume_on_one_rank_keeps_the_order(stores: list[TokenStore]) -> None:
    stream, resumed = stream_of(stores), stream_of(stores)
    taken_by(stream, 17)
    resumed.load_state(stream.state())
    assert taken_by(stream, 40) == taken_by(resumed, 40)


@pytest.mark.parametrize("weights", [[1, 1, 1], [0.7, 0.2, 0.1], [1, 50, 3]])
def test_a_mixture_keeps_its_shares(stores: list[TokenStore], weights: list[float]) -> None:
    stream = stream_of(stores, weights, batch_tokens=LENGTH)
    tokens = np.zeros(3)
    for _ in range(600):
        rows = stream.next_rows()
        tokens[rows.ids[0]] += len(rows.ids)
        shares = np.array(weights) / sum(weights)
        assert np.abs(tokens - shares * tokens.sum()).max() <= 2 * LENGTH
    assert stream.state()["stores"][1]["tokens"] == tokens[1]


def test_each_store_of_a_mixture_has_its_epochs(stores: list[TokenStore]) -> None:
    stream = stream_of(stores, [1, 1, 1], batch_tokens=LENGTH)
    counts = Counter(row for batch in taken_by(stream, 700) for row in batch)
    state = stream.state()["stores"]
    for number, store in enumerate(stores):
        times = {counts[number, row] for row in range(len(store))}
        assert times <= {state[number]["epoch"], state[number]["epoch"] + 1}
    assert state[1]["epoch"] > state[0]["epoch"] > state[2]["epoch"] >= 1


@pytest.mark.parametrize("weights", [None, [3, 1, 2]])
def test_steps_per_epoch_of_a_mixture_see_the_first_store(
    stores: list[TokenStore], weights: list[float] | None
) -> None:
    stream = stream_of(stores, weights)
    taken_by(stream, stream.steps_per_epoch)
    assert stream.epoch == pytest.approx(1, abs=5 / 55)  # a bin of each store and a batch of four
    if weights is None:  # stores by their sizes end together
        assert all(at["epoch"] + at["position"] / 55 > 0.9 for at in stream.state()["stores"])


@pytest.mark.parametrize("weights", [None, [3, 1, 2]])
def test_steps_for_tokens(stores: list[TokenStore], weights: list[float] | None) -> None:
    stream = stream_of(stores, weights)
    seen = sum(len(stream.next_rows().ids) for _ in range(stream.steps_for(20_000)))
    assert 20_000 - LENGTH <= seen <= 20_000 + 5 * LENGTH
    assert stream.steps_for(stream.tokens_per_epoch) == stream.steps_per_epoch
    assert stream.steps_for(1) == 1


def test_the_seed_decides(stores: list[TokenStore]) -> None:
    assert taken_by(stream_of(stores), 5) == taken_by(stream_of(stores), 5)
    assert taken_by(stream_of(stores), 5) != taken_by(stream_of(stores, seed=6), 5)


@pytest.mark.parametrize("weights", [[1], [1, 2, 0], [1, 2, -1], [1, 2, float("nan")], [1, 2, float("inf")]])
def test_weights_that_are_no_shares(stores: list[TokenStore], weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="shares"):
        stream_of(stores, weights)


def test_more_ranks_than_bins(stores: list[TokenStore]) -> None:
    with pytest.raises(ConfigError, match="320"):
        stream_of(stores, rank=0, world_size=5)


def test_a_store_of_longer_rows(stores: list[TokenStore]) -> None:
    with pytest.raises(DataError, match="longer"):
        stream_of(stores, sequence_length=LENGTH // 2)


def test_the_state_of_another_stream(stores: list[TokenStore]) -> None:
    state = stream_of(stores).state()
    for other in (stream_of(stores[:2]), stream_of(stores, seed=6), stream_of(stores, sequence_length=80)):
        with pytest.raises(TrainingError, match="another stream"):
            other.load_state(state)


@pytest.mark.parametrize("micro_batch_tokens", [10, LENGTH, 1000])
def test_held_out_batches(stores: list[TokenStore], micro_batch_tokens: int) -> None:
    batches = list(held_out_batches(stores[0], micro_batch_tokens=micro_batch_tokens))
    assert sorted(row for batch in batches for row in rows_of(batch)) == [(0, row) for row in range(101)]
    assert all(len(batch.ids) <= micro_batch_tokens or len(batch) == 1 for batch in batches)
    again = held_out_batches(stores[0], micro_batch_tokens=micro_batch_tokens)
    assert [rows_of(batch) for batch in batches] == [rows_of(batch) for batch in again]


def keys_by_row(stream: TrainingStream, steps: int) -> dict[tuple[int, int], list[int]]:
    """The keys of each row, use after use."""
    found: dict[tuple[int, int], list[int]] = {}
    for _ in range(steps):
        rows = stream.next_rows()
        assert rows.keys is not None and rows.keys.dtype == np.uint64
        for row, key in zip(rows_of(rows), rows.keys.tolist(), strict=True):
            found.setdefault(row, []).append(key)
    return found


def test_a_key_is_of_the_seed_the_store_the_epoch_and_the_row(stores: list[TokenStore]) -> None:
    found = keys_by_row(stream_of(stores, [1, 1, 1]), 100)
    for (store, row), keys in found.items():
        assert keys == mix(5, store, np.arange(len(keys)), row).tolist()
    every = [key for keys in found.values() for key in keys]
    assert len(set(every)) == len(every) > 700


def test_keys_do_not_depend_on_ranks_batches_or_where_a_run_was_resumed(stores: list[TokenStore]) -> None:
    whole = keys_by_row(stream_of(stores[:1]), 60)
    ranks = [keys_by_row(stream_of(stores[:1], rank=rank, world_size=2), 60) for rank in range(2)]
    for row, keys in whole.items():
        assert sorted(key for rank in ranks for key in rank.get(row, [])) == sorted(keys)
    small = keys_by_row(stream_of(stores[:1], batch_tokens=LENGTH), 240)
    assert small == whole
    first, resumed = stream_of(stores[:1]), stream_of(stores[:1])
    before = keys_by_row(first, 23)
    resumed.load_state(json.loads(json.dumps(first.state())))
    after = keys_by_row(resumed, 37)
    assert {row: before.get(row, []) + after.get(row, []) for row in whole} == whole


def test_another_seed_has_other_keys(stores: list[TokenStore]) -> None:
    one, other = (keys_by_row(stream_of(stores[:1], seed=seed), 30) for seed in (5, 6))
    assert not {key for keys in one.values() for key in keys} & {
        key for keys in other.values() for key in keys
    }


@pytest.mark.parametrize("micro_batch_tokens", [10, LENGTH, 1000])
def test_held_out_rows_have_the_same_keys_every_time(
    stores: list[TokenStore], micro_batch_tokens: int
) -> None:
    for rows in held_out_batches(stores[0], micro_batch_tokens=micro_batch_tokens):
        assert rows.keys is not None
        assert rows.keys.tolist() == [int(mix(row)) for _, row in rows_of(rows)]


def test_a_mixture_of_pairs_and_single_texts_keeps_the_borders(tmp_path: Path) -> None:
    def store_of(name: str, border: int) -> TokenStore:
        ids = np.tile(np.array([9, 8, 7, border], np.int32), 6)
        count = np.full(6, 4)
        rows = TokenRows(ids, count, np.zeros(24, np.bool_), count, np.full(6, border), np.ones((6, 1)))
        return build_token_store(
            iter([[{}] * 6]), lambda _: rows, tmp_path / name, sequence_length=4, overlong="drop"
        )

    stream = stream_of([store_of("pairs", 2), store_of("single", 0)], batch_tokens=8 * LENGTH)
    rows = stream.next_rows()
    last = rows.ids[rows.offsets[1:] - 1].tolist()
    assert set(last) == {0, 2}
    assert rows.borders is not None and rows.borders.tolist() == last
    assert rows.targets is not None and rows.targets.shape == (len(rows), 1)


def test_next_rows_is_quick(tmp_path: Path) -> None:
    stream = stream_of([make_store(tmp_path / "s", 5000)], batch_tokens=4096)
    seconds = []
    for _ in range(50):
        start = time.perf_counter()
        stream.next_rows()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1e-3
