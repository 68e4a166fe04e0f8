"""Plain text and Markdown: a row is a file, a passage, a paragraph or a line."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import IO

from hanji.data.formats.decoding import decoded
from hanji.data.records import Malformed, Record, RowProblem

_NOT_DECODED = re.compile("[\ud800-\udfff]")

SHORT_FILE_CHARACTERS = 65_536
"""A text file up to this length is one document under `auto`; a longer one is cut into passages."""
PASSAGE_CHARACTERS = 4_000
"""A passage ends with the first paragraph (or line) that brings it to this length."""


def read_text(stream: IO[bytes], file: str, encoding: str, documents: str) -> Iterator[Record | Malformed]:
    """The documents of a text file; bytes that are not `encoding` make their document malformed."""
    with decoded(stream, encoding) as lines:
        head: list[str] = []
        if documents == "auto":
            head = _head(lines)
            documents = "file" if sum(map(len, head)) < SHORT_FILE_CHARACTERS else "passage"
        for line, text in _CUTS[documents](enumerate(chain(head, lines), start=1)):
            if text:
                yield _record(text, file, line, encoding)


def read_markdown(
    stream: IO[bytes], file: str, encoding: str, documents: str
) -> Iterator[Record | Malformed]:
    """The same for Markdown, whose files are one document each unless told otherwise."""
    return read_text(stream, file, encoding, "file" if documents == "auto" else documents)


def _record(text: str, file: str, line: int, encoding: str) -> Record | Malformed:
    found = None if text.isascii() else _NOT_DECODED.search(text)
    if found is None:
        return Record(text, file, line)
    bad = found.start()
    shown = text[max(bad - 20, 0) : bad + 20].encode(errors="surrogateescape")
    line += text.count("\n", 0, bad)
    problem = RowProblem(f"bytes that are not {encoding}", value=shown, expected=f"text in {encoding}")
    return Malformed(text, file, line, problem)


def _head(lines: io.TextIOWrapper) -> list[str]:
    head: list[str] = []
    size = 0
    while size < SHORT_FILE_CHARACTERS and (line := lines.readline()):
        head.append(line)
        size += len(line)
    return head


Numbered = Iterator[tuple[int, str]]


def _files(lines: Numbered) -> Numbered:
    yield 1, "".join(text for _, text in lines)


def _lines(lines: Numbered) -> Numbered:
    for line, text in lines:
        yield line, text.strip("\r\n")


def _paragraphs(lines: Numbered) -> Numbered:
    first = 1
    paragraph: list[str] = []
    for line, text in lines:
        if text.strip():
            if not paragraph:
                first = line
            paragraph.append(text)
        elif paragraph:
            yield first, "".join(paragraph).strip("\n")
            paragraph = []
    yield first, "".join(paragraph).strip("\n")


def _passages(lines: Numbered) -> Numbered:
    first, size, blank_lines = 1, 0, False
    passage: list[str] = []
    for line, text in lines:
        blank = not text.strip()
        blank_lines |= blank
        # text that has blank lines is cut at those, unless a paragraph is very long
        limit = PASSAGE_CHARACTERS if blank or not blank_lines else 4 * PASSAGE_CHARACTERS
        if not passage:
            first = line
        passage.append(text)
        size += len(text)
        if size >= limit:
            yield first, "".join(passage).strip("\n")
            passage, size = [], 0
    yield first, "".join(passage).strip("\n")


_CUTS: dict[str, Callable[[Numbered], Numbered]] = {
    "file": _files,
    "line": _lines,
    "paragraph": _paragraphs,
    "passage": _passages,
}
