import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanji.contracts.rows import TokenRows
from hanji.evaluation import ngrams
from hanji.evaluation.ngrams import Bigram

VOCABULARY = 7


def rows_of(*rows, trained=None, text_bytes=3):
    ids = np.concatenate([np.array(row, np.int32) for row in rows])
    mask = (
        np.ones(len(ids), bool) if trained is None else np.concatenate([np.array(m, bool) for m in trained])
    )
    lengths = np.array([len(row) for row in rows], np.int64)
    return TokenRows(ids, lengths, mask, np.full(len(rows), text_bytes, np.int64))


def discounts_by_hand(counts):
    seen = Counter(counts)
    if not all(seen[k] for k in (1, 2, 3, 4)):
        return (0.75, 0.75, 0.75)
    base = seen[1] / (seen[1] + 2 * seen[2])
    found = (
        1 - 2 * base * seen[2] / seen[1],
        2 - 3 * base * seen[3] / seen[2],
        3 - 4 * base * seen[4] / seen[3],
    )
    return tuple(min(max(value, 0.01), k) for k, value in enumerate(found, 1))


def by_hand(rows, first, second):
    """p(second | first) in the words of the paper, one pair at a time."""
    pairs = Counter(pair for row in rows for pair in itertools.pairwise(row))
    followed = defaultdict(set)
    for v, w in pairs:
        followed[w].add(v)
    contexts = [len(followed[w]) for w in range(VOCABULARY)]
    lower_discounts = discounts_by_hand([count for count in contexts if count])
    given_up = sum(lower_discounts[min(count, 3) - 1] for count in contexts if count)
    count = contexts[second]
    kept = count - lower_discounts[min(count, 3) - 1] if count else 0
    lower = (kept + given_up / VOCABULARY) / len(pairs) if pairs else 1 / VOCABULARY
    discounts = discounts_by_hand(list(pairs.values()))
    seen_after = {w: count for (v, w), count in pairs.items() if v == first}
    total = sum(seen_after.values())
    if not total:
        return lower
    share = sum(discounts[min(count, 3) - 1] for count in seen_after.values()) / total
    count = seen_after.get(second, 0)
    own = (count - discounts[min(count, 3) - 1]) / total if count else 0
    return own + share * lower


some_rows = st.lists(
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=30), min_size=1, max_size=5
)


@given(some_rows)
@settings(max_examples=60)
def test_the_probabilities_equal_the_papers_formula(rows):
    model = Bigram.fit([rows_of(*rows)], VOCABULARY)
    first, second = np.divmod(np.arange(VOCABULARY**2), VOCABULARY)
    expected = [by_hand(rows, v, w) for v, w in zip(first.tolist(), second.tolist(), strict=True)]
    np.testing.assert_allclose(model.probabilities(first, second), expected, rtol=1e-12)


@given(some_rows)
def test_the_probabilities_after_each_token_sum_to_one(rows):
    model = Bigram.fit([rows_of(*rows)], VOCABULARY)
    first, second = np.divmod(np.arange(VOCABULARY**2), VOCABULARY)
    sums = model.probabilities(first, second).reshape(VOCABULARY, VOCABULARY).sum(1)
    np.testing.assert_allclose(sums, 1, rtol=1e-12)


def test_discounts_are_estimated_where_enough_was_seen():
    rng = np.random.default_rng(0)
    rows = [(rng.zipf(1.5, 40) % VOCABULARY).tolist() for _ in range(3)]
    counts = np.array(list(Counter(pair for row in rows for pair in itertools.pairwise(row)).values()))
    found = ngrams.Discounts.estimated(counts)
    assert (found.once, found.twice, found.more) == pytest.approx(discounts_by_hand(counts.tolist()))
    assert found.once != 0.75


def test_the_score_is_the_mean_over_the_trained_tokens_that_have_a_predecessor():
    training, held_out = [[0, 1, 2, 1, 2], [3, 1]], [[1, 2, 1], [2, 3, 4, 5]]
    trained = [[1, 1, 0], [1, 0, 1, 1]]
    model = Bigram.fit([rows_of(*training)], VOCABULARY)
    scores = model.score([rows_of(*held_out, trained=trained)])
    nats = [-math.log(by_hand(training, v, w)) for v, w in [(1, 2), (3, 4), (4, 5)]]
    assert scores["tokens"] == 3
    assert scores["loss"] == pytest.approx(sum(nats) / 3)
    assert scores["perplexity"] == pytest.approx(math.exp(sum(nats) / 3))
    assert scores["bits_per_byte"] == pytest.approx(sum(nats) / math.log(2) / 6)


def test_counting_in_portions_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    rows = [rows_of(rng.integers(0, VOCABULARY, 50).tolist()) for _ in range(8)]
    whole = Bigram.fit([TokenRows.concatenate(rows)], VOCABULARY)
    monkeypatch.setattr(ngrams, "MERGE_AT", 20)
    portions = Bigram.fit(rows, VOCABULARY)
    for name in ("pairs", "discounted", "shares", "lower"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(portions, name))


def test_without_a_scored_token_there_is_no_score():
    model = Bigram.fit([rows_of([0, 1])], VOCABULARY)
    assert model.score([rows_of([3])]) == {}
