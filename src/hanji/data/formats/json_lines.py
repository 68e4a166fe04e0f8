"""JSON Lines, and JSON files that hold one array of records (or one object with such an array)."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import IO, Any

from hanji.contracts.errors import DataError
from hanji.data.formats.decoding import decoded
from hanji.data.records import Malformed, Record, RowProblem

_CHUNK_CHARACTERS = 1 << 18
_MAX_RECORD_CHARACTERS = 1 << 28
_TURNS = {"messages", "conversations", "conversation"}
"""Lists of objects that are one chat, not many records."""


def read_json_lines(stream: IO[bytes], file: str, encoding: str) -> Iterator[Record | Malformed]:
    """One record a line; blank lines are passed over."""
    # JSON strings may hold U+2028 and its like, but never a bare newline
    with decoded(stream, encoding, newline="\n") as lines:
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            try:
                value = json.loads(text)
            except json.JSONDecodeError as error:
                yield Malformed(text, file, number, _not_json(error, text))
                continue
            yield _record(value, file, number)


def read_json(stream: IO[bytes], file: str, encoding: str) -> Iterator[Record | Malformed]:
    """The records of `[...]`, of the only list of objects in `{"data": [...], ...}`, or of JSON Lines.

    An array is read record by record; an object as a whole.

    Raises:
        DataError: the file is not JSON, or holds no list of records.
    """
    with decoded(stream, encoding) as opened:
        yield from _values(_Buffered(opened, file), file)


def _values(text: _Buffered, file: str) -> Iterator[Record | Malformed]:
    if text.peek() == "[":
        yield from _array(text, file)
        return
    first_line = text.line
    value = text.value()
    if not text.peek() and isinstance(value, dict):
        lists = {key: found for key, found in value.items() if key not in _TURNS and _is_records(found)}
        if len(lists) == 1:
            (records,) = lists.values()
            for number, item in enumerate(records, start=1):
                yield _record(item, file, number)
            return
    yield _record(value, file, first_line)
    while text.peek():
        line = text.line
        yield _record(text.value(), file, line)


def _array(text: _Buffered, file: str) -> Iterator[Record | Malformed]:
    text.take()
    if text.peek() == "]":
        return
    while True:
        text.peek()
        line = text.line
        yield _record(text.value(), file, line)
        separator = text.peek()
        if separator not in (",", "]"):
            raise DataError(
                "this array of JSON records is broken",
                where=f"{file}:{text.line}",
                value=separator or "the end of the file",
                expected="a comma or ]",
            )
        text.take()
        if separator == "]":
            return


class _Buffered:
    """A text stream of JSON values, of which only a little is held."""

    def __init__(self, stream: io.TextIOWrapper, file: str) -> None:
        self._stream, self._file = stream, file
        self._text, self._at = "", 0
        self._decoder = json.JSONDecoder()
        self.line = 1

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                if character not in " \t\r\n":
                    return character
                self.take()
            if not self._fill():
                return ""

    def take(self) -> None:
        """Passes over one character."""
        self.line += self._text[self._at] == "\n"
        self._at += 1

    def value(self) -> Any:
        """The JSON value that begins here."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at < _MAX_RECORD_CHARACTERS and self._fill():
                    continue
                line = self.line + self._text.count("\n", self._at, error.pos)
                raise DataError(
                    f"not JSON: {error.msg}",
                    where=f"{self._file}:{line}",
                    value=self._text[error.pos : error.pos + 40],
                    expected="an array of records, or one record a line",
                ) from None
            # a number may go on in what has not been read yet
            if end == len(self._text) and self._fill():
                continue
            self.line += self._text.count("\n", self._at, end)
            self._at = end
            return value

    def _fill(self) -> bool:
        # doubling, so that a value longer than the buffer is not parsed again for every chunk
        more = self._stream.read(max(_CHUNK_CHARACTERS, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)


def _record(value: Any, file: str, line: int) -> Record | Malformed:
    if isinstance(value, dict | str):
        return Record(value, file, line)
    problem = RowProblem("a record must be an object", value=value, expected='an object, as {"text": "..."}')
    return Malformed(json.dumps(value), file, line, problem)


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _not_json(error: json.JSONDecodeError, text: str) -> RowProblem:
    return RowProblem(
        f"not JSON: {error.msg}",
        field=f"column {error.colno}",
        value=text[error.pos : error.pos + 40].rstrip("\n") or text[-40:].rstrip("\n"),
        expected="one JSON object a line",
    )
