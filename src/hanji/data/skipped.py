"""Malformed rows: the first one stops the work, or each is written aside with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

from hanji.data.records import RowProblem

_SHOWN_ROW_CHARACTERS = 100_000


class SkippedRows:
    """Writes `skipped.jsonl`: file, line, field, reason, value, expected, row.

    Args:
        skip: whether rows may be skipped at all.
    """

    def __init__(self, path: Path, skip: bool) -> None:
        self._path, self._skip = path, skip
        self._file: IO[str] | None = None

    def add(self, problem: RowProblem, row: Any, file: str, line: int) -> None:
        """Sets a row aside.

        Raises:
            DataError: rows are not to be skipped.
        """
        if not self._skip:
            raise problem.located(file, line, "mend the row, or set `on_error: skip`")
        if self._file is None:
            # opened late: no file says that nothing was skipped
            self._file = self._path.open("w", encoding="utf-8")
        entry = {
            "file": file,
            "line": line,
            "field": problem.field,
            "reason": problem.problem,
            "value": problem.value,
            "expected": problem.expected,
            "row": row[:_SHOWN_ROW_CHARACTERS] if isinstance(row, str) else row,
        }
        # escaped, as what is not Unicode must be writable too; dates and bytes of columnar files as text
        self._file.write(json.dumps(entry, default=str) + "\n")

    def close(self) -> None:
        """Ends the file."""
        if self._file is not None:
            self._file.close()
