"""Labels as records give them: names of classes, lists of names, or numbers."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from hanji.data.chats.messages import parsed_json
from hanji.data.records import RowProblem

LabelKind = Literal["classes", "several", "number"]

EXPECTED: Final[Mapping[str, str]] = {
    "auto": "a name, a number, or a list of names",
    "classes": "the name of a class",
    "several": "a list of names",
    "number": "a number",
}
"""What a label must be, by the source's `labels`."""

_MISSING: Final = ("", "-")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number: the name of a class, or a number where other labels of the stage have fractions."""

    text: str


Label = str | tuple[str, ...] | float | Whole
"""A name, several names, a number, or what may yet be a name or a number."""


@dataclass(slots=True)
class LabelReader:
    """Reads the labels of one source.

    Attributes:
        labels: what they are: `auto`, `classes`, `several`, `number`.
        names: class → its new name.
        fixed: the label of every row, instead of a field of theirs.
        unmet: classes of `names` that no row has had yet.
    """

    labels: Literal["auto"] | LabelKind = "auto"
    names: Mapping[str, str] = field(default_factory=dict)
    fixed: str | float | None = None
    unmet: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = {_unified(name): _unified(new) for name, new in self.names.items()}
        self.unmet = set(self.names)

    @property
    def wanted(self) -> bool:
        """Whether the source says that its rows have labels."""
        return self.labels != "auto" or bool(self.names) or self.fixed is not None

    def read(self, value: Any, column: str) -> Label:
        """The label that a record has in `column`; one called `score` has numbers.

        Names are in NFC without blanks around them, so that a class is one class however it is written.

        Raises:
            RowProblem: there is none, or it is not what `labels` says.
        """
        kind = "number" if self.labels == "auto" and column == "score" else self.labels
        value = _listed(value, kind, column)
        if _missing(value):
            raise RowProblem("no label", field=column, value=value, expected=EXPECTED[kind])
        if isinstance(value, list | tuple):
            if kind in ("classes", "number"):
                raise RowProblem("one label is wanted", field=column, value=value, expected=EXPECTED[kind])
            named = {self._name(item, f"{column}[{index}]") for index, item in enumerate(value)}
            return tuple(in_order(named))
        if kind == "several":
            return (self._name(value, column),)
        number = None if kind == "classes" or self.names else _number(value)
        if kind == "number":
            if number is None:
                raise RowProblem("not a number", field=column, value=value, expected=EXPECTED[kind])
            return number
        if number is None:
            return self._name(value, column)
        return Whole(_text(value, column)) if number.is_integer() else number

    def _name(self, value: Any, column: str) -> str:
        if _missing(value):
            raise RowProblem("no label", field=column, value=value, expected=EXPECTED["classes"])
        name = _text(value, column)
        self.unmet.discard(name)
        return self.names.get(name, name)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of classes in the order in which they are told: by number where all are whole numbers."""
    names = sorted(names)
    return sorted(names, key=int) if all(map(_INTEGER.fullmatch, names)) else names


def _listed(value: Any, kind: str, column: str) -> Any:
    """A list written as JSON, as in a column of CSV, as the list."""
    if kind not in ("auto", "several") or not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    return parsed_json(value, column, 'a list of names, as ["one", "two"]')


def _missing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip() in _MISSING
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: Any, column: str) -> str:
    """A label as the name of a class: 1, 1.0 and "1" are one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise RowProblem("this is no label", field=column, value=value, expected=EXPECTED["auto"])
    return _unified(str(value))


def _unified(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()
