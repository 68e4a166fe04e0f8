"""The endless stream of packed rows that a model is trained on; it can be left and taken up anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.errors import ConfigError, DataError, TrainingError
from hanji.contracts.random_keys import mix
from hanji.contracts.rows import TokenRows
from hanji.data.packing import best_fit, pack
from hanji.data.token_store import TokenStore


class TrainingStream:
    """Batches of packed rows from one store, or from several mixed by weight.

    Rows are packed once, into bins of at most `sequence_length` tokens. In each epoch of a store every bin is
    drawn once, in an order that follows from (seed, store, epoch); a batch may run over the border of two
    epochs, so no row is left out. The next bin comes from the store that has given the fewest tokens
    for its weight, so that at any time the shares of the tokens are right to within a bin or two.

    A batch is the same whatever the number of ranks: rank r is given bins r, r + world_size, ... of it.

    Args:
        weights: share of the tokens for each store, to any scale; None for the stores' own sizes, so that
            all of them come to the end of an epoch together.
        batch_tokens: of the batch over all ranks, which has `batch_tokens // sequence_length` bins, or one.

    Raises:
        ConfigError: weights that are no shares, or fewer bins in a batch than ranks.
        DataError: a store with rows longer than `sequence_length`.
    """

    def __init__(
        self,
        stores: Sequence[TokenStore],
        weights: Sequence[float] | None = None,
        *,
        sequence_length: int,
        batch_tokens: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        assert stores and 0 <= rank < world_size
        self.bins_per_batch = max(1, batch_tokens // sequence_length)
        if self.bins_per_batch < world_size:
            raise ConfigError(
                "a batch is too small to give each device a share",
                value=f"batch_tokens={batch_tokens}, sequence_length={sequence_length}, {world_size} devices",
                expected=f"batch_tokens of {sequence_length * world_size} at least",
            )
        self._sources = [_Source(store, sequence_length, (seed, index)) for index, store in enumerate(stores)]
        self._shares = _shares(weights, self._sources)
        self._rank, self._world_size = rank, world_size
        self._identity = {
            "seed": seed,
            "sequence_length": sequence_length,
            "data": [store.statistics["data"]["sha256"] for store in stores],
        }

    @property
    def epoch(self) -> float:
        """How often the first store has been gone through: 1.5 is the middle of the second time."""
        first = self._sources[0]
        return first.epoch + first.position / len(first.bins)

    @property
    def tokens_per_epoch(self) -> float:
        """Tokens drawn from all stores until the first has been gone through once."""
        return self._sources[0].tokens / self._shares[0]

    @property
    def bins_per_epoch(self) -> float:
        """Bins drawn from all stores until the first has been gone through once.

        Of one store: the number of its bins. Of a mixture: what the shares come to, right to a bin or two.
        """
        return sum(
            self.tokens_per_epoch * share / source.tokens * len(source.bins)
            for share, source in zip(self._shares, self._sources, strict=True)
        )

    @property
    def steps_per_epoch(self) -> int:
        """Batches until the first store has been gone through; the last may reach into its next epoch."""
        return self.steps(1)

    def steps(self, epochs: float) -> int:
        """Batches that go through the first store `epochs` times; rounded up once, not once an epoch."""
        return max(1, math.ceil(round(epochs * self.bins_per_epoch / self.bins_per_batch, 6)))

    def steps_for(self, tokens: float) -> int:
        """Batches that hold `tokens` real tokens, as full as they are over an epoch."""
        return self.steps(tokens / self.tokens_per_epoch)

    def next_rows(self) -> TokenRows:
        """This rank's rows of the next batch, bin after bin; several stores one after another."""
        drawn: list[list[tuple[NDArray[np.int64], int]]] = [[] for _ in self._sources]
        for index in range(self.bins_per_batch):
            chosen = self._choose()
            bin_of_rows = self._sources[chosen].draw()
            if index % self._world_size == self._rank:
                drawn[chosen].append(bin_of_rows)
        parts = []
        for source, bins in zip(self._sources, drawn, strict=True):
            if bins:
                rows = np.concatenate([rows for rows, _ in bins])
                epochs = np.repeat([epoch for _, epoch in bins], [len(rows) for rows, _ in bins])
                parts.append(replace(source.store.take(rows), keys=mix(*source.seed, epochs, rows)))
        return parts[0] if len(parts) == 1 else TokenRows.concatenate(parts)

    def state(self) -> dict[str, Any]:
        """Where the stream stands: what `load_state` takes, on any number of ranks."""
        at = [
            {"epoch": source.epoch, "position": source.position, "tokens": source.drawn_tokens}
            for source in self._sources
        ]
        return self._identity | {"stores": at}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes to where `state` was taken; the next batch is the one that followed it.

        Raises:
            TrainingError: it is the state of a stream of other data, or of another seed or sequence length.
        """
        for key, mine in self._identity.items():
            if state.get(key) != mine:
                raise TrainingError(
                    "the checkpoint was made with another stream of data",
                    where=key,
                    value=state.get(key),
                    expected=repr(mine),
                    hint="start the stage anew, or restore the data and settings it was begun with",
                )
        for source, at in zip(self._sources, state["stores"], strict=True):
            source.go_to(at["epoch"], at["position"], at["tokens"])

    def _choose(self) -> int:
        """The store furthest behind its share (stride scheduling: Waldspurger and Weihl, 1995)."""
        if len(self._sources) == 1:
            return 0
        passed = [
            source.drawn_tokens / share for source, share in zip(self._sources, self._shares, strict=True)
        ]
        return passed.index(min(passed))


class _Source:
    """One store, its bins, and how far it has been drawn from."""

    def __init__(self, store: TokenStore, sequence_length: int, seed: tuple[int, int]) -> None:
        longest = int(store.lengths.max())
        if longest > sequence_length:
            raise DataError(
                "a row is longer than the sequence",
                where=str(store.directory),
                value=f"{longest} tokens",
                expected=f"at most {sequence_length} (sequence_length)",
                hint="make the token store again with this sequence_length",
            )
        self.store = store
        self.bins = pack(store.lengths, sequence_length, np.random.default_rng((*seed, 0)))
        self._bin_tokens = np.add.reduceat(store.lengths[self.bins.rows], self.bins.offsets[:-1])
        self.tokens = int(store.lengths.sum())
        self.seed = seed
        self.go_to(0, 0, 0)

    def go_to(self, epoch: int, position: int, drawn_tokens: int) -> None:
        self.epoch, self.position, self.drawn_tokens = epoch, position, drawn_tokens
        self._order = np.random.default_rng((*self.seed, 1 + epoch)).permutation(len(self.bins))

    def draw(self) -> tuple[NDArray[np.int64], int]:
        """The rows of the next bin, and the epoch that it is drawn in."""
        index, epoch = int(self._order[self.position]), self.epoch
        self.drawn_tokens += int(self._bin_tokens[index])
        self.position += 1
        if self.position == len(self.bins):
            self.go_to(self.epoch + 1, 0, self.drawn_tokens)
        return self.bins[index], epoch


def _shares(weights: Sequence[float] | None, sources: Sequence[_Source]) -> list[float]:
    if weights is None:
        weights = [source.tokens for source in sources]
    sensible = all(math.isfinite(weight) and weight > 0 for weight in weights)
    if len(weights) != len(sources) or not sensible:
        raise ConfigError(
            "the weights of a mixture are no shares",
            value=list(weights),
            expected=f"{len(sources)} numbers above 0",
        )
    return [weight / sum(weights) for weight in weights]


def held_out_batches(store: TokenStore, *, micro_batch_tokens: int) -> Iterator[TokenRows]:
    """Every row of the store once, in batches of at most `micro_batch_tokens`, always the same ones.

    A row longer than that is a batch of its own. What is random about a row is the same every time, too.
    """
    for rows in batches_of(store, micro_batch_tokens):
        yield replace(store.take(rows), keys=mix(rows))


def batches_of(store: TokenStore, micro_batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """The numbers of the rows in each of these batches."""
    long = store.lengths > micro_batch_tokens
    for row in np.flatnonzero(long):
        yield np.array([row])
    short = np.flatnonzero(~long)
    bins = best_fit(store.lengths[short], micro_batch_tokens)
    for index in range(len(bins)):
        yield short[bins[index]]
