"""What a row of any kind can do, from being cleaned to being stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Protocol

from hanji.data.cleaning import Cleaning
from hanji.data.records import RowProblem

_SAID: Final = ("text", "text_pair", "messages", "chosen", "rejected")
"""The columns of all kinds that hold text, or messages."""


class Row(Protocol):
    """One row of prepared data.

    Attributes:
        kind: its name, as in `SCHEMAS` of `data/shards.py`.
        plural: what many of them are called in a sentence.
    """

    kind: ClassVar[str]
    plural: ClassVar[str]

    @property
    def empty(self) -> bool:
        """Whether a text without a visible character stands where text is wanted."""

    def cleaned(self, clean: Cleaning) -> Row:
        """The row with its text cleaned.

        Raises:
            RowProblem: too little is left of it.
        """

    def content(self) -> str:
        """What is equal for equal rows."""

    def split_key(self) -> str:
        """What decides its split."""

    def values(self) -> dict[str, Any]:
        """Its columns, as they are read back."""


def content_bytes(row: Row) -> bytes:
    """UTF-8 that is equal for equal rows.

    Raises:
        RowProblem: the text holds halves of surrogate pairs, which no file can hold.
    """
    try:
        content = row.content()
    except TypeError as error:
        raise RowProblem(f"not plain values: {error}", field="tools", expected="what JSON can hold") from None
    try:
        return content.encode()
    except UnicodeEncodeError as error:
        around = content[max(error.start - 20, 0) : error.start + 20]
        raise RowProblem(
            "characters that are not Unicode text", value=around, expected="text without lone surrogates"
        ) from None


def said(values: Mapping[str, Any]) -> list[str]:
    """All text of a row as it is read back: its texts, or the content of its messages."""
    texts: list[str] = []
    for name in _SAID:
        value = values.get(name)
        if isinstance(value, str):
            texts.append(value)
        elif value is not None:
            texts += [message["content"] for message in value]
    return texts


def size_of(texts: Iterable[str]) -> tuple[int, int]:
    """Characters and UTF-8 bytes of texts."""
    characters, size = 0, 0
    for text in texts:
        characters += len(text)
        size += len(text.encode())
    return characters, size


def as_json(value: Any) -> str:
    """JSON as it is stored."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
