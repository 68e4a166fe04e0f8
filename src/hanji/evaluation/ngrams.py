"""What counting pairs of tokens achieves: the mark that a language model has to pass."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.rows import TokenRows

MERGE_AT = 16_000_000
"""Distinct pairs collected before equal ones are added up: bounds the memory on a large corpus."""


@dataclass(frozen=True, slots=True)
class Discounts:
    """What is taken from pairs seen once, twice, and more often, to be given to pairs never seen."""

    once: float
    twice: float
    more: float

    @classmethod
    def estimated(cls, counts: NDArray[np.int64]) -> Discounts:
        """The closed form of Chen and Goodman (1999), equation 26; 0.75 where too little was seen for it."""
        seen = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(float)
        if not seen.all():
            return cls(0.75, 0.75, 0.75)
        base = seen[0] / (seen[0] + 2 * seen[1])
        found = [k - (k + 1) * base * seen[k] / seen[k - 1] for k in (1, 2, 3)]
        return cls(*(min(max(value, 0.01), k) for k, value in enumerate(found, 1)))

    def of(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """The discount of each count; none of 0."""
        return np.array([0.0, self.once, self.twice, self.more])[np.minimum(counts, 3)]


@dataclass(frozen=True, slots=True)
class Bigram:
    """An interpolated bigram model, after modified Kneser-Ney (Chen and Goodman 1999).

    p(w | v) = max(c(vw) − D, 0) / c(v) + share(v) · p(w), where p(w) counts after how many different tokens w
    was seen, discounted in the same way and interpolated with the uniform distribution.

    Attributes:
        vocabulary_size: tokens that share the uniform part.
        pairs: [distinct pairs] int64, sorted, v · vocabulary_size + w.
        discounted: [distinct pairs] float64, the first summand.
        shares: [vocabulary] float64, what each context gives to the lower order.
        lower: [vocabulary] float64, p(w).
    """

    vocabulary_size: int
    pairs: NDArray[np.int64]
    discounted: NDArray[np.float64]
    shares: NDArray[np.float64]
    lower: NDArray[np.float64]

    @classmethod
    def fit(cls, batches: Iterable[TokenRows], vocabulary_size: int) -> Bigram:
        """Counts the trained tokens of `batches`, each with the token before it in its row."""
        pairs, counts = _counted(batches, vocabulary_size)
        first, second = pairs // vocabulary_size, pairs % vocabulary_size
        discounts = Discounts.estimated(counts).of(counts)
        context = np.bincount(first, counts, vocabulary_size)
        given_up = np.bincount(first, discounts, vocabulary_size)
        shares = np.divide(given_up, context, out=np.ones(vocabulary_size), where=context > 0)
        lower = _continuations(np.bincount(second, minlength=vocabulary_size))
        return cls(vocabulary_size, pairs, (counts - discounts) / context[first], shares, lower)

    def probabilities(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
        """p(second | first), element by element."""
        lower = self.shares[first] * self.lower[second]
        if not len(self.pairs):
            return lower
        wanted = first * self.vocabulary_size + second
        at = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        return lower + np.where(self.pairs[at] == wanted, self.discounted[at], 0.0)

    def score(self, batches: Iterable[TokenRows]) -> dict[str, float]:
        """How well the trained tokens of `batches` are predicted; the positions that a model is scored at.

        Returns:
            `loss` (nats per token), `perplexity`, `bits_per_byte` and `tokens`; empty without tokens.
        """
        nats, tokens, text_bytes = 0.0, 0, 0
        for rows in batches:
            pairs = _pairs(rows, self.vocabulary_size)
            first, second = np.divmod(pairs, self.vocabulary_size)
            nats -= float(np.log(self.probabilities(first, second)).sum())
            tokens += len(pairs)
            text_bytes += int(rows.text_bytes.sum())
        if not tokens:
            return {}
        scores = {"loss": nats / tokens, "perplexity": math.exp(nats / tokens), "tokens": float(tokens)}
        return scores | ({"bits_per_byte": nats / math.log(2) / text_bytes} if text_bytes else {})


def _continuations(contexts: NDArray[np.int64]) -> NDArray[np.float64]:
    """[vocabulary] p(w) from the number of different tokens that each w followed."""
    total, size = contexts.sum(), len(contexts)
    if not total:
        return np.full(size, 1 / size)
    discounts = Discounts.estimated(contexts[contexts > 0]).of(contexts)
    discounted: NDArray[np.float64] = (contexts - discounts + discounts.sum() / size) / total
    return discounted


def _pairs(rows: TokenRows, vocabulary_size: int) -> NDArray[np.int64]:
    """[trained tokens] each with its predecessor, as one number; the first token of a row has none."""
    predicted = rows.trained.copy()
    predicted[rows.offsets[:-1][rows.lengths > 0]] = False
    at = np.flatnonzero(predicted)
    return rows.ids[at - 1].astype(np.int64) * vocabulary_size + rows.ids[at]


def _counted(
    batches: Iterable[TokenRows], vocabulary_size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct pairs, sorted, and how often each was seen."""
    waiting = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for rows in batches:
        waiting.append(np.unique(_pairs(rows, vocabulary_size), return_counts=True))
        if sum(len(found) for found, _ in waiting) > max(MERGE_AT, 2 * len(waiting[0][0])):
            waiting = [_added_up(waiting)]
    return _added_up(waiting)


def _added_up(
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pairs = np.concatenate([found for found, _ in parts])
    counts = np.concatenate([count for _, count in parts])
    distinct, place = np.unique(pairs, return_inverse=True)
    return distinct, np.bincount(place, counts, len(distinct)).astype(np.int64)
