"""CSV (RFC 4180) and TSV, with the names of the columns in the first line or given beside the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import IO, Any

from hanji.contracts.errors import DataError
from hanji.data.formats.decoding import decoded
from hanji.data.records import Malformed, Record, RowProblem

_MAX_FIELD_CHARACTERS = 1 << 30


def read_csv(
    stream: IO[bytes], file: str, encoding: str, header: Sequence[str] | None = None
) -> Iterator[Record | Malformed]:
    """Comma-separated records; a quoted field may hold commas and newlines.

    Args:
        header: the names of the columns of a file whose first line is a record already.
    """
    csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    with decoded(stream, encoding, newline="") as lines:
        yield from _csv_records(csv.reader(lines, strict=True), file, header)


def read_tsv(
    stream: IO[bytes], file: str, encoding: str, header: Sequence[str] | None = None
) -> Iterator[Record | Malformed]:
    """Tab-separated records, one a line.

    Quotation marks are text like any other, except around a whole field whose inner ones are doubled: so
    spreadsheets write TSV.

    Args:
        header: the names of the columns of a file whose first line is a record already.
    """
    with decoded(stream, encoding, newline="") as lines:
        for line, text in enumerate(lines, start=1):
            fields = [_unquoted(field) for field in text.rstrip("\r\n").split("\t")]
            if header is None:
                header = _header(fields, file)
            elif text.strip("\r\n"):
                yield _record(header, fields, file, line)


def _csv_records(reader: Any, file: str, header: Sequence[str] | None) -> Iterator[Record | Malformed]:
    line = 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            problem = RowProblem(f"not CSV: {error}", expected="fields quoted as RFC 4180 says")
            yield Malformed("", file, line, problem)
            line = reader.line_num + 1
            continue
        if fields is None:
            return
        if header is None:
            header = _header(fields, file)
        elif fields:
            yield _record(header, fields, file, line)
        line = reader.line_num + 1


def _header(fields: list[str], file: str) -> list[str]:
    names = [name.strip() for name in fields]
    twice = {name for name in names if names.count(name) > 1}
    if twice or not any(names):
        raise DataError(
            "the first line does not name the columns",
            where=f"{file}:1",
            value=names,
            expected="a different name for each column",
            hint="where it is a row already, name the columns with the source's `header`",
        )
    return names


def _record(header: Sequence[str], fields: list[str], file: str, line: int) -> Record | Malformed:
    if len(fields) != len(header):
        problem = RowProblem(
            f"{len(fields)} fields where there are {len(header)} columns",
            value=fields,
            expected=", ".join(header),
        )
        return Malformed(",".join(fields), file, line, problem)
    return Record(dict(zip(header, fields, strict=True)), file, line)


def _unquoted(field: str) -> str:
    if len(field) < 2 or field[0] != '"' or field[-1] != '"':
        return field
    inner = field[1:-1]
    return field if '"' in inner.replace('""', "") else inner.replace('""', '"')
