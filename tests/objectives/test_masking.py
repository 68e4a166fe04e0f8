"""Which tokens are hidden, and behind what: how many, which together, and drawn from the row's key alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hanji.contracts.random_keys import mix
from hanji.objectives.masking import LONGEST_SPAN, Unit, choose, replaced
from objectives.encoders import ENGLISH, KOREAN, trained

UNITS: list[Unit] = ["tokens", "words", "spans"]
SPANBERT_MEAN = sum(k * 0.2 * 0.8 ** (k - 1) for k in range(1, 11)) / (1 - 0.8**10)


def keys_of(rows: int, epoch: int = 0) -> NDArray[np.uint64]:
    return mix(7, epoch, np.arange(rows))


class Rows:
    """Random rows, of which some tokens are special and some begin words."""

    def __init__(self, rows: int, shortest: int = 2, longest: int = 90, words: float = 0.6) -> None:
        random = np.random.default_rng(rows)
        self.lengths = random.integers(shortest, longest + 1, rows)
        tokens = int(self.lengths.sum())
        self.ids = random.integers(5, 500, tokens).astype(np.int32)
        self.allowed = random.random(tokens) < 0.9
        starts = np.cumsum(self.lengths) - self.lengths
        self.allowed[starts], self.allowed[starts + self.lengths - 1] = False, False
        self.begins_word = random.random(tokens) < words
        self.keys = keys_of(rows)

    def choose(self, **options: Any) -> NDArray[np.bool_]:
        settings: dict[str, Any] = {"rate": 0.15, "unit": "tokens"} | options
        return choose(self.keys, self.lengths, self.allowed, self.begins_word, **settings)

    def split(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        return np.split(values, np.cumsum(self.lengths)[:-1])


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.5, 0.99])
def test_the_share_is_exact_in_every_row(rate: float) -> None:
    rows = Rows(400)
    hidden = rows.choose(rate=rate)
    for of_row, allowed in zip(rows.split(hidden), rows.split(rows.allowed), strict=True):
        count = int(allowed.sum())
        assert of_row.sum() == (min(count, max(1, round(rate * count))))


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_not_allowed_is_never_hidden(unit: Unit) -> None:
    rows = Rows(400)
    hidden = rows.choose(unit=unit, rate=0.9)
    assert hidden.any() and not (hidden & ~rows.allowed).any()


@pytest.mark.parametrize("unit", UNITS)
def test_the_key_decides_and_nothing_else(unit: Unit) -> None:
    rows = Rows(300)
    first = rows.choose(unit=unit)
    assert (first == rows.choose(unit=unit)).all()
    rows.keys = keys_of(300, epoch=1)
    second = rows.choose(unit=unit)
    # of what one epoch hides, another hides its share again, and no more
    share = second.sum() / rows.allowed.sum()
    assert (first & second).sum() / first.sum() == pytest.approx(share, rel=0.25)


@pytest.mark.parametrize("unit", UNITS)
def test_a_row_does_not_depend_on_its_neighbours(unit: Unit) -> None:
    rows = Rows(60)
    whole = rows.split(rows.choose(unit=unit))
    parts = [rows.split(values) for values in (rows.allowed, rows.begins_word)]
    order = np.random.default_rng(0).permutation(60)
    for some in (order[:1], order[:7], order):
        hidden = choose(
            rows.keys[some], rows.lengths[some],
            *(np.concatenate([part[row] for row in some]) for part in parts), rate=0.15, unit=unit,
        )  # fmt: skip
        assert (hidden == np.concatenate([whole[row] for row in some])).all()


@pytest.mark.parametrize("unit", UNITS)
def test_every_token_is_hidden_as_often_as_another(unit: Unit) -> None:
    """One row of four words of one token, hidden one at a time, under many keys."""
    times = 4000
    lengths = np.full(times, 6)
    allowed = np.tile([False, True, True, True, True, False], times)
    hidden = choose(
        mix(3, np.arange(times)), lengths, allowed, np.ones(6 * times, np.bool_), rate=0.2, unit=unit
    )
    shares = hidden.reshape(times, 6).mean(0)
    if unit == "spans":  # longer than one word: more than was asked for, never less
        assert (shares[1:5] > 0.2).all()
    else:
        assert shares[1:5] == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / times))


@pytest.mark.parametrize("unit", ["words", "spans"])
def test_words_are_hidden_whole(unit: Unit) -> None:
    rows = Rows(400)
    hidden = rows.choose(unit=unit)
    apart = np.flatnonzero(hidden[1:] != hidden[:-1]) + 1
    starts = np.cumsum(rows.lengths) - rows.lengths
    begins = rows.begins_word.copy()
    begins[starts] = True
    specials = ~rows.allowed[apart] | ~rows.allowed[apart - 1]
    assert (begins[apart] | specials).all()


def test_words_go_over_the_share_by_their_last_one_only() -> None:
    rows = Rows(400)
    for of_row, allowed, begins in zip(
        rows.split(rows.choose(unit="words")),
        rows.split(rows.allowed),
        rows.split(rows.begins_word),
        strict=True,
    ):
        wanted, count = max(1, round(0.15 * allowed.sum())), int(of_row.sum())
        longest = max(map(len, np.split(of_row, np.flatnonzero(begins))))
        assert min(wanted, int(allowed.sum())) <= count < wanted + longest


@pytest.mark.parametrize(("algorithm", "specials"), [("wordpiece", ()), ("bpe", ("[MASK]",))])
@pytest.mark.parametrize("text", [ENGLISH, KOREAN])
def test_words_of_real_tokenizers(algorithm: str, specials: tuple[str, ...], text: str) -> None:
    tokenizer = trained(algorithm, *specials)
    ids = tokenizer.encode_texts([text])[0]
    words, stretch = [], tokenizer.decode(ids.tolist()).split()
    for index in ids:  # by their text alone: a token after a blank, or a mark, begins a word
        piece = tokenizer.hf.convert_ids_to_tokens(int(index))
        begins = (
            not piece.startswith("##")
            if algorithm == "wordpiece"
            else tokenizer.decode([int(index)])[:1] in " ,.'-"
        )
        words.append(begins or not words)
    times = 300
    hidden = choose(
        mix(np.arange(times)), np.full(times, len(ids)), np.ones(len(ids) * times, np.bool_),
        np.tile(~tokenizer.continues_word[ids], times), rate=0.15, unit="words",
    ).reshape(times, -1)  # fmt: skip
    number = np.cumsum(words) - 1
    assert number[-1] + 1 >= len(stretch) and len(ids) > 1.3 * len(stretch), "words must be several tokens"
    for row in hidden:
        parts = np.bincount(number, weights=row)
        assert set(parts) > {0.0}
        assert ((parts == 0) | (parts == np.bincount(number))).all()
    assert hidden.any(0).all()  # each word has its turn


def test_spans_are_as_long_as_spanberts() -> None:
    rows = Rows(3000, 400, 400)
    rows.allowed[:] = True
    rows.begins_word[:] = True
    hidden = rows.choose(unit="spans", rate=0.01)  # so few that two seldom touch
    lengths = np.concatenate([_runs(of_row) for of_row in rows.split(hidden)])
    assert lengths.mean() == pytest.approx(SPANBERT_MEAN, rel=0.04)
    assert np.quantile(lengths, 0.97) <= LONGEST_SPAN
    share_of_ones = (lengths == 1).mean()
    assert share_of_ones == pytest.approx(0.2 / (1 - 0.8**10), abs=0.03)


def test_spans_are_runs_of_whole_words() -> None:
    rows = Rows(500, 100, 100, words=0.4)
    rows.allowed[:] = True
    words = rows.choose(unit="words", rate=0.1)
    spans = rows.choose(unit="spans", rate=0.1)
    runs = [np.concatenate([_runs(row) for row in rows.split(hidden)]).mean() for hidden in (words, spans)]
    assert runs[1] > 2.2 * runs[0]


def _runs(hidden: NDArray[np.bool_]) -> NDArray[np.int64]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def shown_of(rows: Rows, hidden: NDArray[np.bool_], **options: Any) -> NDArray[np.int32]:
    settings: dict[str, Any] = {
        "mask_id": 4,
        "ordinary": np.arange(5, 500, dtype=np.int32),
        "shares": (0.8, 0.1),
    }
    return replaced(rows.ids, hidden, rows.keys, rows.lengths, **(settings | options))


def test_eighty_ten_ten() -> None:
    rows = Rows(8000)
    hidden = rows.choose(rate=0.3)
    shown = shown_of(rows, hidden)
    assert (shown[~hidden] == rows.ids[~hidden]).all()
    count = int(hidden.sum())
    assert count > 50_000
    masks, stays = (shown[hidden] == 4).mean(), (shown[hidden] == rows.ids[hidden]).mean()
    by_chance = 0.1 / 495  # a random token may be the token itself
    for found, share in ((masks, 0.8), (stays, 0.1 + by_chance)):
        assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / count)


def test_random_tokens_are_ordinary_ones_and_all_of_them() -> None:
    rows = Rows(4000)
    ordinary = np.array([*range(10, 60), 77], np.int32)
    shown = shown_of(rows, rows.choose(rate=0.5), ordinary=ordinary, shares=(0.0, 1.0))
    drawn = shown[rows.choose(rate=0.5)]
    assert set(drawn.tolist()) == set(ordinary.tolist())
    counts = np.bincount(drawn)[ordinary]
    expected = len(drawn) / len(ordinary)
    assert float(((counts - expected) ** 2 / expected).sum()) < 50 + 4 * np.sqrt(
        100
    )  # chi-square, 50 degrees


@pytest.mark.parametrize(("shares", "mask", "stay"), [((1.0, 0.0), 1.0, 0.0), ((0.0, 0.0), 0.0, 1.0)])
def test_shares_at_their_ends(shares: tuple[float, float], mask: float, stay: float) -> None:
    rows = Rows(50)
    hidden = rows.choose()
    shown = shown_of(rows, hidden, shares=shares)[hidden]
    assert ((shown == 4).mean(), (shown == rows.ids[hidden]).mean()) == (mask, stay)


def test_where_a_token_is_hidden_does_not_tell_what_is_shown() -> None:
    """The two draws are independent: the tokens drawn first are masked as often as the others."""
    rows = Rows(4000, 60, 60)
    few, many = rows.choose(rate=0.1), rows.choose(rate=0.4)
    assert (few <= many).all()  # the same order, cut later
    shown = shown_of(rows, many)
    assert (shown[few] == 4).mean() == pytest.approx((shown[many & ~few] == 4).mean(), abs=0.015)


def test_no_rows_at_all() -> None:
    nothing = np.zeros(0, np.int64)
    hidden = choose(mix(nothing), nothing, nothing > 0, nothing > 0, rate=0.15, unit="spans")
    assert hidden.shape == (0,)
