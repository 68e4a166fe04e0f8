"""What a source gives before it is a row: a record with its place, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hanji.contracts.errors import DataError


@dataclass(frozen=True, slots=True)
class Record:
    """One piece of a source, as it stood there.

    Attributes:
        value: the text, or the fields of a structured record.
        file: the file, or the name of what is not a file.
        line: the line it begins on, or its number in a file without lines; counted from 1.
        group: records of one group are never spread over several splits; None stands alone.
    """

    value: str | dict[str, Any]
    file: str
    line: int
    group: str | None = None


class RowProblem(Exception):
    """Why a record is not a row.

    Args:
        problem: one sentence saying what is wrong.
        field: where in the record, as `messages[1].role`; empty for the record itself.
        value: what was found there.
        expected: what is allowed.
    """

    def __init__(self, problem: str, *, field: str = "", value: object = None, expected: str | None = None):
        super().__init__(problem)
        self.problem, self.field, self.value, self.expected = problem, field, value, expected

    def located(self, file: str, line: int, hint: str | None = None) -> DataError:
        """The same as an error that names the file, the line and the field."""
        where = f"{file}:{line}" + (f": {self.field}" if self.field else "")
        return DataError(self.problem, where=where, value=self.value, expected=self.expected, hint=hint)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A piece of a source that could not even be read as a record."""

    raw: str
    file: str
    line: int
    problem: RowProblem
