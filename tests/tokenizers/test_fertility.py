"""The report of fertility: counts that can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import pytest

from hanji.tokenizers.fertility import fertility
from hanji.tokenizers.tokenizer import Tokenizer


class Bytes:
    """A token for each byte."""

    def encode_texts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        rows = [list(text.encode()) for text in texts]
        return np.array(list(chain.from_iterable(rows)), np.int32), np.array(
            [len(row) for row in rows], np.int64
        )


def test_by_hand() -> None:
    report = fertility(Bytes(), ["한글 is 漢字, カナ 42!"])  # type: ignore[arg-type]
    assert {name: row["characters"] for name, row in report.items()} == {
        "Hangul": 2,
        "Han": 2,
        "Kana": 2,
        "Latin": 2,
        "digits": 2,
        "punctuation and code": 2,
        "all": 16,
    }
    assert report["Hangul"]["tokens_per_word"] == 6 and report["Hangul"]["characters_per_token"] == 2 / 6
    assert report["Latin"]["tokens_per_word"] == 3  # with the space before it
    assert report["Latin"]["bytes_per_token"] == 2 / 3
    assert report["punctuation and code"]["tokens_per_word"] == 1
    assert report["all"]["bytes_per_token"] == 1 and report["all"]["tokens_per_word"] == 28 / 5


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("Hangul", "가힣ㄱᄀ"),
        ("Han", "漢々"),
        ("Kana", "あンｱ"),
        ("Latin", "aZé"),
        ("Cyrillic", "Жя"),
        ("digits", "09"),
        ("punctuation and code", "_{}→🎉"),
        ("other letters", "αש"),
    ],
)
def test_scripts(script: str, text: str) -> None:
    report = fertility(Bytes(), [text])  # type: ignore[arg-type]
    assert set(report) == {script, "all"} and report[script]["characters"] == len(text)


def test_of_a_tokenizer(make_trained: Callable[..., Tokenizer], corpus: list[str]) -> None:
    tokenizer = make_trained("bpe")
    report = fertility(tokenizer, iter(corpus))
    text = "".join(corpus)
    ids = sum(len(tokenizer.encode_texts([part])[0]) for part in corpus)
    assert report["all"]["bytes_per_token"] == pytest.approx(len(text.encode()) / ids)
    assert report["Hangul"]["tokens_per_word"] >= 1


def test_nothing() -> None:
    assert fertility(Bytes(), []) == {}  # type: ignore[arg-type]
    assert fertility(Bytes(), [" \n"])["all"]["tokens_per_word"] == 2  # type: ignore[arg-type]
