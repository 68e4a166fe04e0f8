"""Where sentences end: examples in English and Korean, and that nothing of a text is lost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanji.objectives.sentences import split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["The sheet is blank.", "Who writes on it?", "She does!"],
        ["Mr. Kim and Dr. Lee met Prof. Park.", "They talked."],
        ["J. Kim wrote it.", "J.R.R. Tolkien did not."],
        ["The U.S. army came.", "It left at 5 p.m. yesterday."],
        ["Use a brush, e.g. a thick one.", "It is soft, i.e. of hair."],
        ["Kim et al. showed it in Fig. 3 of Vol. 2.", "See pp. 4 and 5."],
        ["It weighs 3.75 grams.", "It costs 1,200.50 won.", "Version 2.0 came later."],
        ["Go to hanji.example.org now.", "Open notes.txt there."],
        ['"Is it dry?"', "He said, 'No.'", "(It was wet.)", "“Wait.”", "So they waited [an hour.]", "Good."],
        ["Wait...", "What is that?!", "Nothing…", "Good."],
        ["1. Soak the bark.", "2. Beat it.", "10. Dry the sheet in 1999.", "Then rest."],
    ],
)
def test_english(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["한지는 닥나무 껍질로 만든다.", "물에 불려요.", "왜 불릴까요?", "부드러워지니까요!"],
        ["“어디 가세요?”", "할머니가 물으셨다.", "‘글쎄.’", "나는 웃었다."],
        ['그는 "종이가 마른다."라고 말했다.', "정말이었다."],
        ["한 장에 3.5그램이다.", "값은 1,200.50원쯤 한다."],
        ["글쎄...", "모르겠다…", "그럴까?!", "(아마도.)"],
        ["1. 껍질을 벗긴다.", "2. 물에 불린다."],
        ["그는 한지를 떴다.", "그리고 말렸다.", "「끝났다.」", "모두 기뻐했다."],
    ],
)
def test_korean(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("紙は白い。水で洗う！なぜ？", ["紙は白い。", "水で洗う！", "なぜ？"]),
        ("「白い。」彼は言った。『はい！』終わり", ["「白い。」", "彼は言った。", "『はい！』", "終わり"]),
        ("本当！？はい。", ["本当！？", "はい。"]),
        ("“你好。”他说。", ["“你好。”", "他说。"]),
    ],
)
def test_full_width_ends_need_no_blank(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One line\nanother line", ["One line", "another line"]),
        ("Mr.\nKim", ["Mr.", "Kim"]),  # a line ends whatever stands at its end
        ('He said "Stop."\nThen he left.', ['He said "Stop."', "Then he left."]),
        ("(Here.)\r\n\r\n  There.", ["(Here.)", "There."]),
        ("Done.  \n\n\n", ["Done."]),
        (
            "a line without an end\n- a point\n- a point more.",
            ["a line without an end", "- a point", "- a point more."],
        ),
        ("  \n ", []),
        ("", []),
    ],
)
def test_lines(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


PIECES = st.sampled_from(
    [
        *("word", "Mr", "e.g", "J", "U.S", "3", "1", "한지다", "요", "紙"),
        *(
            ".",
            "!",
            "?",
            "…",
            "...",
            "。",
            "！",
            "？",
            '"',
            "'",
            "”",
            "’",
            "」",
            "』",
            "）",
            ")",
            "]",
            "“",
            "「",
        ),
        *(" ", "  ", "\n", "\r\n", "\t", "\u3000", "\u2028", "\x1c", "\xa0", "\x85"),
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=25).map("".join)))
def test_nothing_but_blanks_is_lost(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    for sentence in sentences:
        assert sentence and sentence == sentence.strip() and "\n" not in sentence
        assert sentence in text


@given(st.lists(PIECES, max_size=25).map("".join))
def test_a_sentence_does_not_begin_with_the_end_of_the_one_before(text: str) -> None:
    for sentence in split_sentences(text)[1:]:
        before = text[: text.index(sentence)].rstrip()
        if sentence[0] in "”」』" and before.endswith(("。", "！", "？")):
            assert text[len(before)].isspace()  # a blank stood between them


def test_long_lines_take_no_longer_than_they_must() -> None:
    start = time.perf_counter()
    assert len(split_sentences("Mr. " * 30_000)) == 1
    assert split_sentences("a" + " " * 100_000 + "b") == ["a" + " " * 100_000 + "b"]
    assert time.perf_counter() - start < 2
