"""From records to rows: which format a record is in, and the text or chat that it holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hanji.contracts.errors import ConfigError, nearest
from hanji.data.chats.instructions import from_alpaca, from_prompt_completion, from_question_answer
from hanji.data.chats.messages import Chat, Message, from_messages, text_field
from hanji.data.chats.sharegpt import from_sharegpt
from hanji.data.cleaning import Cleaning
from hanji.data.records import RowProblem


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How a record becomes a row.

    Attributes:
        fields: those that a record must have.
        read: fields to a chat; None where the row is the text of its only field.
    """

    fields: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Chat] | None

    @property
    def kind(self) -> str:
        """`text` or `chat`."""
        return "text" if self.read is None else "chat"


ROW_FORMATS: Mapping[str, RowFormat] = {
    "messages": RowFormat(("messages",), from_messages),
    "sharegpt": RowFormat(("conversations",), from_sharegpt),
    "alpaca": RowFormat(("instruction", "output"), from_alpaca),
    "prompt-completion": RowFormat(("prompt", "completion"), from_prompt_completion),
    "question-answer": RowFormat(("question", "answer"), from_question_answer),
    "text": RowFormat(("text",), None),
}
"""In the order in which `auto` tries them."""

_CLEANED = ("content", "reasoning_content")

OUR_FIELDS = (
    "text",
    "messages",
    "conversations",
    "instruction",
    "input",
    "output",
    "history",
    "prompt",
    "completion",
    "question",
    "answer",
    "system",
    "tools",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of prepared data: a text, or the messages of a chat with the tools it may use."""

    text: str | None = None
    messages: tuple[Message, ...] = ()
    tools: list[dict[str, Any]] | None = None

    @property
    def kind(self) -> str:
        """`text` or `chat`."""
        return "chat" if self.text is None else "text"

    @property
    def empty(self) -> bool:
        """Whether it is a text without a visible character."""
        return self.text is not None and not self.text.strip()

    def cleaned(self, clean: Cleaning) -> Row:
        """The row with its text cleaned; arguments and tools of a chat stay as they are.

        Raises:
            RowProblem: nothing is left of a message.
        """
        if self.text is not None:
            return Row(text=clean(self.text))
        messages: list[Message] = []
        for index, message in enumerate(self.messages):
            new = {**message, **{key: clean(message[key]) for key in _CLEANED if key in message}}
            if not new["content"].strip() and not new.get("tool_calls"):
                raise RowProblem(
                    "content is empty once cleaned",
                    field=f"messages[{index}].content",
                    value=message["content"],
                    expected="some text",
                )
            messages.append(new)
        return Row(messages=tuple(messages), tools=self.tools)

    def content_bytes(self) -> bytes:
        """UTF-8 that is equal for equal rows.

        Raises:
            RowProblem: the text holds halves of surrogate pairs, which no file can hold.
        """
        try:
            content = self.text if self.text is not None else _json([self.messages, self.tools])
        except TypeError as error:
            raise RowProblem(
                f"not plain values: {error}", field="tools", expected="what JSON can hold"
            ) from None
        try:
            return content.encode()
        except UnicodeEncodeError as error:
            around = content[max(error.start - 20, 0) : error.start + 20]
            raise RowProblem(
                "characters that are not Unicode text", value=around, expected="text without lone surrogates"
            ) from None

    def split_key(self) -> str:
        """What decides its split: the text, or what is said before the first answer."""
        if self.text is not None:
            return self.text
        first = next(index for index, message in enumerate(self.messages) if message["role"] == "assistant")
        return _json([[message["role"], message["content"]] for message in self.messages[:first]])

    def columns(self) -> dict[str, Any]:
        """As they are stored."""
        if self.text is not None:
            return {"text": self.text}
        return {"messages": _json(self.messages), "tools": _json(self.tools) if self.tools else None}

    def size(self) -> tuple[int, int]:
        """Characters and UTF-8 bytes of the text, or of all that is said."""
        return size_of(self.text, self.messages)


def plain_text(text: str | None, messages: Sequence[Message]) -> str:
    """The text of a row, or all that is said in its chat, line by line."""
    return text if text is not None else "\n".join(message["content"] for message in messages)


def size_of(text: str | None, messages: Sequence[Message]) -> tuple[int, int]:
    """Characters and UTF-8 bytes of a text, or of all that is said in a chat."""
    said = [text] if text is not None else [message["content"] for message in messages]
    return sum(map(len, said)), sum(len(part.encode()) for part in said)


class RowMaker:
    """Turns the records of one source into rows; under `auto`, the first record of a file tells its format.

    Args:
        columns: our field to their column.
        row_format: a key of ROW_FORMATS, or `auto`.

    Raises:
        ConfigError: an unknown format or field.
    """

    def __init__(self, row_format: str, columns: Mapping[str, str], text_column: str | None) -> None:
        if row_format != "auto" and row_format not in ROW_FORMATS:
            raise _unknown("rows", row_format, ["auto", *ROW_FORMATS])
        for field in columns:
            if field not in OUR_FIELDS:
                raise _unknown("columns", field, OUR_FIELDS)
        self._columns = dict(columns) | ({"text": text_column} if text_column is not None else {})
        self._given = None if row_format == "auto" else row_format
        self._recognised: dict[str, str] = {}

    @property
    def row_formats(self) -> list[str]:
        """Those given or recognised so far."""
        return [self._given] if self._given else sorted(set(self._recognised.values()))

    def row(self, value: str | dict[str, Any], file: str) -> Row:
        """The row of a record of `file`.

        Raises:
            RowProblem: it is not in the source's format, or in none that is known.
        """
        fields = self._renamed({"text": value} if isinstance(value, str) else value)
        name = self._given or self._recognised.get(file)
        if name is None:
            name = self._recognised[file] = _recognised(fields, self._columns)
        wanted = ROW_FORMATS[name]
        missing = [field for field in wanted.fields if fields.get(field) is None]
        if missing:
            raise RowProblem(
                f"no {' and no '.join(missing)} in a row of format {name}",
                field=missing[0],
                value=value,
                expected=", ".join(wanted.fields),
            )
        if wanted.read is None:
            return Row(text=text_field(fields, "text", empty=True))
        messages, tools = wanted.read(fields)
        return Row(messages=tuple(messages), tools=tools)

    def _renamed(self, fields: dict[str, Any]) -> dict[str, Any]:
        if not self._columns:
            return fields
        for ours, theirs in self._columns.items():
            if theirs not in fields:
                raise RowProblem(
                    f"no column {theirs!r}, which `columns` names for {ours}",
                    field=theirs,
                    value=list(fields),
                    expected=f"the column {theirs!r}",
                )
        taken = set(self._columns.values())
        others = {key: value for key, value in fields.items() if key not in taken}
        return others | {ours: fields[theirs] for ours, theirs in self._columns.items()}


def _recognised(fields: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    # what the user mapped by name goes before what happens to be there
    named = [name for name, wanted in ROW_FORMATS.items() if set(wanted.fields) <= columns.keys()]
    found = named or [name for name, wanted in ROW_FORMATS.items() if all(f in fields for f in wanted.fields)]
    if not found:
        raise RowProblem(
            "these columns are no format that is known",
            value=list(fields),
            expected="; ".join(f"{name}: {' + '.join(wanted.fields)}" for name, wanted in ROW_FORMATS.items())
            + "; or say which are which: `columns: {question: ..., answer: ...}` or `text_column: ...`",
        )
    return found[0]


def _unknown(where: str, value: str, allowed: Any) -> ConfigError:
    near = nearest(value, allowed)
    return ConfigError(
        "no such name",
        where=where,
        value=value,
        expected=", ".join(allowed),
        hint=f"did you mean {near}?" if near else None,
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
