"""Rows as the model sees them: packed into sequences, cut into tokens, learned or only read."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from hanji.contracts.rows import TokenRows
from hanji.data.packing import pack

_PACKED_ROWS = 2**13
_LONGEST_GROUP = 8
"""Tokens tried together for one character; UTF-8 has at most four bytes, emoji may join several."""
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_STYLES = {"learn": "green", "read": "default", "special": "magenta", "mark": "dim", "unreadable": "red"}


class Decoder(Protocol):
    """The part of a tokenizer that turns ids back into text."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str: ...


class Rows(Protocol):
    """Rows to look at: a token store, or rows in memory."""

    @property
    def lengths(self) -> NDArray[np.int64]: ...

    def take(self, indices: NDArray[np.int64]) -> TokenRows: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that a token stands for, or that several do whose bytes make one character only together."""

    text: str
    tokens: int = 1
    special: bool = False
    readable: bool = True

    def style(self, kind: str) -> str:
        """How it is printed in a run of `kind`: learn or read."""
        return _STYLES["special" if self.special else kind if self.readable else "unreadable"]


def show_tokens(
    rows: Rows, decoder: Decoder, *, sequence_length: int, bins: int = 1, max_tokens: int = 200
) -> RenderableType:
    """`bins` packed sequences, each document in them token by token.

    Args:
        rows: of `sequence_length` tokens at most; 8,192 of them, evenly spaced, are packed for the view.
        max_tokens: about as many of a document; a longer one lacks some from its middle, and says how many.
    """
    step = max(1, -(-len(rows.lengths) // _PACKED_ROWS))
    sample = np.arange(0, len(rows.lengths), step)
    random = np.random.default_rng(0)
    packed = pack(rows.lengths[sample], sequence_length, random)
    parts: list[RenderableType] = [_legend()]
    for number, index in enumerate(random.permutation(len(packed))[:bins]):
        chosen = sample[packed[int(index)]]
        taken = rows.take(chosen)
        filled = len(taken.ids) / sequence_length
        alone = len(chosen) == 1
        documents = "1 document" if alone else f"{len(chosen)} documents that do not see each other"
        parts.append(
            Rule(
                f"[bold]sequence {number + 1}[/] · {documents} · "
                f"{len(taken.ids):,} of {sequence_length:,} tokens ({filled:.0%})",
                align="left",
                characters="━",
            )
        )
        for row, ids, trained in zip(chosen, *_documents(taken), strict=True):
            parts.append(_Document(int(row), ids, trained, decoder, max_tokens))
    return Group(*parts)


def _legend() -> Text:
    return Text.assemble(
        ("learn", _STYLES["learn"]),
        ": the model is trained to say it · read: it is context · ",
        ("special token", _STYLES["special"]),
        " · ",
        ("│", _STYLES["mark"]),
        " ends a token, ",
        ("₂│", _STYLES["mark"]),
        " two tokens that share a character · numbers: positions, from 0 in each document",
    )


def _documents(rows: TokenRows) -> tuple[list[NDArray[np.int32]], list[NDArray[np.bool_]]]:
    trained = rows.trained.copy()
    trained[rows.offsets[:-1]] = False  # nothing stands before a first token that could predict it
    cuts = rows.offsets[1:-1]
    return np.split(rows.ids, cuts), np.split(trained, cuts)


@dataclass(frozen=True, slots=True)
class _Document:
    """One document: a heading, and its tokens in runs of learned and read ones, as wide as the console."""

    row: int
    ids: NDArray[np.int32]
    trained: NDArray[np.bool_]
    decoder: Decoder
    max_tokens: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        size, learned = len(self.ids), int(self.trained.sum())
        yield Rule(f"row {self.row} · {size:,} tokens, {learned:,} learned", align="left", style="dim")
        if size <= self.max_tokens * 5 // 4:
            yield from self._lines(0, size, options.max_width)
            return
        head = self._boundary(self.max_tokens * 3 // 4)
        tail = self._boundary(size - self.max_tokens // 4)
        yield from self._lines(0, head, options.max_width)
        yield Text(f"{'':13}… {tail - head:,} tokens left out …", style="dim")
        yield from self._lines(tail, size, options.max_width)

    def _boundary(self, position: int) -> int:
        """The first position from `position` on that does not cut a character in two."""
        for start in range(position, position + 4):
            if _next_piece(self.ids[start : start + _LONGEST_GROUP].tolist(), [], self.decoder).readable:
                return start
        return position

    def _lines(self, start: int, end: int, width: int) -> Iterator[Text]:
        changes = np.flatnonzero(np.diff(self.trained[start:end])) + start + 1
        borders = [start, *changes.tolist(), end]
        for first, last in itertools.pairwise(borders):
            kind = "learn" if self.trained[first] else "read"
            pieces = token_pieces(self.ids[:last].tolist(), self.decoder, first)
            for number, (position, line) in enumerate(_wrap(pieces, first, max(20, width - 13), kind)):
                label = (kind if number == 0 else "").ljust(6)
                yield Text.assemble((f"{position:>6} ", "dim"), (label, _STYLES[kind]), line, no_wrap=True)


def token_pieces(ids: Sequence[int], decoder: Decoder, start: int = 0) -> list[Piece]:
    """The text of each token from `start` on, as it reads after those before it.

    Tokens that hold parts of one character are grouped until their bytes are whole. What never becomes whole,
    or has no text, is shown by its id: `⟨237⟩`.
    """
    pieces = []
    context = list(ids[max(0, start - 1) : start])
    while start < len(ids):
        piece = _next_piece(ids[start : start + _LONGEST_GROUP], context, decoder)
        context = list(ids[start : start + piece.tokens])
        start += piece.tokens
        pieces.append(piece)
    return pieces


def _next_piece(ids: Sequence[int], context: list[int], decoder: Decoder) -> Piece:
    before = decoder.decode(context)
    if _UNREADABLE in before:
        before, context = "", []
    for tokens in range(1, len(ids) + 1):
        group = list(ids[:tokens])
        text = decoder.decode(context + group)
        text = text[len(before) :] if text.startswith(before) else decoder.decode(group)
        if text and _UNREADABLE not in text:
            special = (
                tokens == 1 and bool(text.strip()) and not decoder.decode(group, skip_special_tokens=True)
            )
            return Piece(text, tokens, special)
    return Piece(f"⟨{ids[0]}⟩", readable=False)


def _wrap(pieces: Sequence[Piece], position: int, width: int, kind: str) -> Iterator[tuple[int, Text]]:
    """Lines of pieces, each with the position of its first token; broken where the text has a line end."""
    line, first = Text(), position
    for piece in pieces:
        parts = _parts(piece.text, width - 3)
        mark = (str(piece.tokens).translate(_SUBSCRIPTS) if piece.tokens > 1 else "") + "│"
        for part, end in zip(parts, [""] * (len(parts) - 1) + [mark], strict=True):
            if line and line.cell_len + cell_len(part + end) > width:
                yield first, line
                line, first = Text(), position
            line.append(part, piece.style(kind)).append(end, _STYLES["mark"])
            if part.endswith("⏎"):
                yield first, line
                line, first = Text(), position if part is not parts[-1] else position + piece.tokens
        position += piece.tokens
    if line:
        yield first, line


def _parts(text: str, width: int) -> list[str]:
    """What is printed of a piece: cut after line ends, and where it is wider than a line."""
    visible = "".join(map(_visible, text))
    return [part for line in re.findall("[^⏎]*⏎+|[^⏎]+", visible) for part in chop_cells(line, width)]


def _visible(character: str) -> str:
    """Line ends and tabs as signs, and what a terminal would obey or hide by its code."""
    if character in "\n\t":
        return {"\n": "⏎", "\t": "⇥"}[character]
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return f"\\u{{{ord(character):x}}}"
    return character
