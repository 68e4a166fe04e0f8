"""Word n-grams against a plain implementation with tuples, and near-copies found by them."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanji.data.decontamination import Decontaminator, ngram_hashes

TEXTS = st.lists(st.lists(st.sampled_from(["가", "나", "B", "c"]), max_size=9).map(" ".join), max_size=6)


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    if len(words) < n:
        return [tuple(words)] if words else []
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


@given(TEXTS, st.integers(1, 5))
def test_hashes_are_equal_where_the_grams_are(texts: list[str], n: int) -> None:
    hashes, counts = ngram_hashes(texts, n)
    reference = [gram for text in texts for gram in _grams(text, n)]
    assert counts.tolist() == [len(_grams(text, n)) for text in texts]
    names = dict(zip(reference, hashes.tolist(), strict=True))
    assert [names[gram] for gram in reference] == hashes.tolist()
    assert len(set(names.values())) == len(names)


@given(TEXTS, st.lists(TEXTS, max_size=3), st.integers(1, 4))
def test_shares_against_sets(held_out: list[str], training: list[list[str]], n: int) -> None:
    finder = Decontaminator([held_out], n)
    finder.mark(iter(training))
    seen = {gram for batch in training for text in batch for gram in _grams(text, n)}
    expected = [np.mean([gram in seen for gram in _grams(text, n)] or [0.0]) for text in held_out]
    assert finder.shares().tolist() == pytest.approx(expected)


def test_case_punctuation_and_ideographs() -> None:
    def share(held_out: str, training: str) -> float:
        finder = Decontaminator([[held_out]], 3)
        finder.mark(iter([[training]]))
        return float(finder.shares()[0])

    assert share("One, two: THREE four!", "… one two three (four) …") == 1.0
    assert share("one two three four", "four three two one") == 0.0
    assert share("吾輩は猫である", "昔々、吾輩は猫である。") == 1.0
