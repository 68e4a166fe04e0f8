"""`hanji show --tokens`: every token visible, with nothing that a terminal would obey."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from hanji.contracts.rows import TokenRows
from hanji.data.show import show_tokens, token_pieces

END = 256


class Bytes:
    """A tokenizer whose tokens are bytes, and one special token."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        parts, plain = [], bytearray()
        for token in [*ids, None]:
            if token is not None and token < END:
                plain.append(token)
                continue
            parts.append(plain.decode(errors="replace"))
            plain = bytearray()
            if token == END and not skip_special_tokens:
                parts.append("<|end|>")
        return "".join(parts)


class Words:
    """A tokenizer that joins words with spaces as it decodes, as WordPiece and SentencePiece do."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        return " ".join(["여러", "개의", "낱말"][token] for token in ids)


def rows_of(*chats: tuple[str, str]) -> TokenRows:
    """Rows of (read, learned and ended) text, after the special token."""
    ids: list[int] = []
    trained: list[bool] = []
    lengths = []
    for read, learned in chats:
        context, answer = [END, *read.encode()], [*learned.encode(), END]
        row = context + answer
        ids += row
        trained += [False] * len(context) + [True] * len(answer)
        lengths.append(len(row))
    sizes = np.array(lengths, np.int64)
    return TokenRows(np.array(ids, np.int32), sizes, np.array(trained, np.bool_), sizes)


def printed(rows: TokenRows, width: int = 80, colour: bool = False, **options: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=colour)
    console.print(show_tokens(rows, Bytes(), **({"sequence_length": 512} | options)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_runs_of_read_and_learned_tokens() -> None:
    assert printed(rows_of(("Hi?\n", "뷁!"))).splitlines()[-3:] == [
        f"{'row 0 · 10 tokens, 5 learned ':─<80}",
        "     0 read  <|end|>│H│i│?│⏎│",
        "     5 learn 뷁₃│!│<|end|>│",
    ]


def test_a_first_token_is_never_learned() -> None:
    rows = rows_of(("", "ab"))
    every = TokenRows(rows.ids, rows.lengths, np.ones(len(rows.ids), np.bool_), rows.text_bytes)
    assert printed(every) == printed(rows)
    assert rows.trained.sum() == 3 and not rows.trained[0]


def test_documents_of_a_packed_sequence() -> None:
    text = printed(rows_of(("", "first"), ("", "second"), ("q", "third")), sequence_length=16, bins=2)
    pair, alone = sorted(text.split("sequence ")[1:], key=len, reverse=True)
    assert "2 documents that do not see each other · 16 of 16 tokens (100%)" in pair
    assert "1 document · 7 of 16 tokens (44%)" in alone
    assert sorted(re.findall(r"row (\d)", pair)) == ["1", "2"] and re.findall(r"row (\d)", alone) == ["0"]
    assert pair.count("     0 read ") == 2  # positions begin anew


def test_all_sequences() -> None:
    text = printed(rows_of(("", "first"), ("", "second"), ("q", "third")), sequence_length=10, bins=9)
    assert sorted(re.findall(r"row (\d)", text)) == ["0", "1", "2"]
    assert sorted(re.findall(r"sequence (\d)", text)) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", r"\u{1b}"),
        ("\r", r"\u{d}"),
        ("a\u202eb", r"\u{202e}"),
        ("\t", "⇥"),
        ("[bold]", "b│o│l│d│]"),
    ],
)
def test_nothing_that_a_terminal_obeys(text: str, shown: str) -> None:
    out = printed(rows_of(("", text)))
    assert shown in out
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", out)


def test_colours_tell_learned_from_read() -> None:
    out = printed(rows_of(("q", "a")), colour=True)
    assert "\x1b[32ma" in out and "\x1b[32mq" not in out and "\x1b[35m<|end|>" in out


def test_bytes_that_are_no_text_are_shown_by_their_ids() -> None:
    ids = [*"가".encode()[:2], *b"ab", 0xFF, *"나".encode()]
    assert [(piece.text, piece.tokens, piece.readable) for piece in token_pieces(ids, Bytes())] == [
        ("⟨234⟩", 1, False),
        ("⟨176⟩", 1, False),
        ("a", 1, True),
        ("b", 1, True),
        ("⟨255⟩", 1, False),
        ("나", 3, True),
    ]


def test_spaces_that_decoding_puts_between_words() -> None:
    assert [piece.text for piece in token_pieces([0, 1, 2], Words())] == ["여러", " 개의", " 낱말"]
    assert [piece.text for piece in token_pieces([0, 1, 2], Words(), start=2)] == [" 낱말"]


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\N{REPLACEMENT CHARACTER}", exclude_categories=["Cs"])))
def test_pieces_are_the_text(text: str) -> None:
    pieces = token_pieces(list(text.encode()), Bytes())
    assert "".join(piece.text for piece in pieces) == text
    assert sum(piece.tokens for piece in pieces) == len(text.encode())


@settings(deadline=None)
@given(
    st.lists(st.text("ab 한글뷁\n🤖", min_size=2, max_size=80), min_size=1, max_size=4), st.integers(40, 120)
)
def test_lines_fit_and_positions_are_right(texts: list[str], width: int) -> None:
    out = printed(rows_of(*[("", text) for text in texts]), width, sequence_length=4000, max_tokens=4000)
    assert all(cell_len(line) <= width for line in out.splitlines())
    # what a line shows begins at its position, in bytes of the text
    documents = out.split("row ")[1:]
    for document in documents:
        ids = b"<" + texts[int(document[0])].encode()
        for line in document.splitlines()[1:]:
            position, shown = re.match(r" *(\d+) (?:read |learn|     ) (.*)", line).groups()
            first = re.split("[₀-₉│]", shown)[0].replace("⏎", "\n").replace("<|end|>", "<")
            if first and int(position) < len(ids):
                assert ids[int(position) :].startswith(first.encode())


def test_long_documents_are_shortened_between_characters() -> None:
    text = printed(rows_of(("", "한글" * 100)), sequence_length=1000, max_tokens=40)
    left_out = int(re.search(r"… (\d+) tokens left out", text)[1])
    assert "⟨" not in text
    shown = 3 * (text.count("한₃") + text.count("글₃")) + text.count("<|end|>")
    assert shown + left_out == 602
    assert 30 <= shown <= 50
