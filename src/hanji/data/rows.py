"""From records to rows: which form a record is in, and the row that it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hanji.contracts.errors import ConfigError, nearest
from hanji.data.chats.instructions import from_alpaca, from_prompt_completion, from_question_answer
from hanji.data.chats.messages import Chat, from_messages, text_field
from hanji.data.chats.preferences import from_alpaca_preference, from_chat_preference, from_preference
from hanji.data.chats.sharegpt import from_sharegpt
from hanji.data.kinds.chat import ChatRow
from hanji.data.kinds.labelled import LabelledRow
from hanji.data.kinds.row import Row
from hanji.data.kinds.text import TextRow
from hanji.data.labels import LabelReader
from hanji.data.records import RowProblem
from hanji.data.usual_columns import usual_columns

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How a record becomes a row.

    Attributes:
        kind: of the row.
        fields: those that a record must have.
        read: fields to a row; a label among them has been read.
    """

    kind: str
    fields: tuple[str, ...]
    read: Callable[[Fields], Row]


def _chat(read: Callable[[Fields], Chat]) -> Callable[[Fields], Row]:
    def row(fields: Fields) -> Row:
        messages, tools = read(fields)
        return ChatRow(tuple(messages), tools)

    return row


def _text(fields: Fields) -> Row:
    return TextRow(text_field(fields, "text", empty=True))


def _labelled(fields: Fields) -> Row:
    return LabelledRow(text_field(fields, "text", empty=True), None, fields["label"])


def _labelled_pair(fields: Fields) -> Row:
    text, pair = (text_field(fields, name, empty=True) for name in ("text", "text_pair"))
    return LabelledRow(text, pair, fields["label"])


_ANSWERS = ("chosen", "rejected")

ROW_FORMATS: Mapping[str, RowFormat] = {
    "preference": RowFormat("preference", ("prompt", *_ANSWERS), from_preference),
    "alpaca-preference": RowFormat("preference", ("instruction", *_ANSWERS), from_alpaca_preference),
    "chat-preference": RowFormat("preference", _ANSWERS, from_chat_preference),
    "messages": RowFormat("chat", ("messages",), _chat(from_messages)),
    "sharegpt": RowFormat("chat", ("conversations",), _chat(from_sharegpt)),
    "alpaca": RowFormat("chat", ("instruction", "output"), _chat(from_alpaca)),
    "prompt-completion": RowFormat("chat", ("prompt", "completion"), _chat(from_prompt_completion)),
    "question-answer": RowFormat("chat", ("question", "answer"), _chat(from_question_answer)),
    "pair-classification": RowFormat("labelled", ("text", "text_pair", "label"), _labelled_pair),
    "classification": RowFormat("labelled", ("text", "label"), _labelled),
    "text": RowFormat("text", ("text",), _text),
}
"""In the order in which `auto` tries them."""

_OPTIONAL = ("input", "history", "system", "tools", "margin", "score_chosen", "score_rejected")

OUR_FIELDS = tuple(
    dict.fromkeys([*(field for found in ROW_FORMATS.values() for field in found.fields), *_OPTIONAL])
)


class RowMaker:
    """Turns the records of one source into rows; under `auto`, the first record of a file tells its format.

    Args:
        row_format: a key of ROW_FORMATS, or `auto`.
        columns: our field to their column.
        text_column: the same as columns {text: ...}.
        labels: reads the source's labels; where it says anything of them, every row has one.

    Raises:
        ConfigError: an unknown format or field, or labels for rows that have none.
    """

    def __init__(
        self,
        row_format: str,
        columns: Mapping[str, str],
        text_column: str | None,
        labels: LabelReader | None = None,
    ) -> None:
        if row_format != "auto" and row_format not in ROW_FORMATS:
            raise _unknown("rows", row_format, ["auto", *ROW_FORMATS])
        for field in columns:
            if field not in OUR_FIELDS:
                raise _unknown("columns", field, OUR_FIELDS)
        self._columns = dict(columns) | ({"text": text_column} if text_column is not None else {})
        self._labels = labels or LabelReader()
        if row_format == "text" and self._labels.fixed is not None:
            row_format = "classification"
        self._candidates = _candidates(row_format, self._labels)
        self._formats: dict[str, tuple[str, dict[str, str]]] = {}

    @property
    def row_formats(self) -> list[str]:
        """Those given or recognised so far."""
        if len(self._candidates) == 1:
            return list(self._candidates)
        return sorted({name for name, _ in self._formats.values()})

    def row(self, value: str | dict[str, Any], file: str) -> Row:
        """The row of a record of `file`.

        Raises:
            RowProblem: it is not in the source's format, or in none that is known.
        """
        fields = self._renamed({"text": value} if isinstance(value, str) else value)
        if self._labels.fixed is not None:
            fields = {**fields, "label": self._labels.fixed}
        name, usual = self._formats.get(file) or self._recognised(fields, file)
        wanted = ROW_FORMATS[name]
        if wanted.kind == "labelled":
            fields = self._with_label(fields, usual)
        missing = [field for field in wanted.fields if fields.get(field) is None]
        if missing:
            raise RowProblem(
                f"no {' and no '.join(missing)} in a row of format {name}",
                field=missing[0],
                value=value,
                expected=", ".join(wanted.fields),
            )
        return wanted.read(fields)

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

    def _with_label(self, fields: Fields, usual: Mapping[str, str]) -> dict[str, Any]:
        found = {**fields, **{ours: fields[theirs] for ours, theirs in usual.items() if theirs in fields}}
        if "label" in found:
            column = usual.get("label") or self._columns.get("label", "label")
            found["label"] = self._labels.read(found["label"], column)
        return found

    def _recognised(self, fields: Fields, file: str) -> tuple[str, dict[str, str]]:
        """The format of a file, and which of its columns are ours under another usual name."""
        usual = {name: _usual(fields, wanted) for name, wanted in self._candidates.items()}
        whole = [
            name
            for name, wanted in self._candidates.items()
            if all(field in fields or field in usual[name] for field in wanted.fields)
        ]
        # what the user mapped by name goes before what happens to be there
        named = [name for name in whole if set(ROW_FORMATS[name].fields) <= self._columns.keys()]
        if whole:
            name = (named or whole)[0]
            self._formats[file] = name, usual[name]
            return self._formats[file]
        if len(self._candidates) == 1:  # the row says what it lacks
            (name,) = self._candidates
            return name, usual[name]
        raise RowProblem(
            "these columns are no format that is known",
            value=list(fields),
            expected="; ".join(f"{name}: {' + '.join(f.fields)}" for name, f in self._candidates.items())
            + "; or say which are which: `columns: {question: ..., answer: ...}` or `text_column: ...`",
        )


def _usual(fields: Fields, wanted: RowFormat) -> dict[str, str]:
    return usual_columns(fields, pair="text_pair" in wanted.fields) if wanted.kind == "labelled" else {}


def _candidates(row_format: str, labels: LabelReader) -> dict[str, RowFormat]:
    """The formats that a source's records may be in."""
    given = {
        name: found
        for name, found in ROW_FORMATS.items()
        if row_format in ("auto", name) and (found.kind == "labelled" or not labels.wanted)
    }
    if not given:
        raise ConfigError(
            "labels for rows that have none",
            where="rows",
            value=row_format,
            expected=", ".join(["auto", *(n for n, found in ROW_FORMATS.items() if found.kind == "labelled")])
            + ", where `label`, `labels` or `label_names` is given",
        )
    return given


def _unknown(where: str, value: str, allowed: Any) -> ConfigError:
    near = nearest(value, allowed)
    return ConfigError(
        "no such name",
        where=where,
        value=value,
        expected=", ".join(allowed),
        hint=f"did you mean {near}?" if near else None,
    )
