"""A source of rows, and reading it record by record without holding it in memory."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Literal

import pyarrow as pa

from hanji.contracts.errors import ConfigError, DataError, nearest
from hanji.data.files import DataFile, decompressed, exists, find_files
from hanji.data.formats import FILE_FORMATS, FORMAT_OF_SUFFIX, WHOLE_FORMATS, FileFormat, Opened
from hanji.data.formats.datasets_library import is_saved_dataset
from hanji.data.labels import EXPECTED, LabelKind, LabelReader
from hanji.data.records import Malformed, Record, RowProblem

Documents = Literal["auto", "file", "passage", "paragraph", "line"]
_TEXT_FORMATS = ("text", "markdown")
_DELIMITED_FORMATS = ("csv", "tsv")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Source:
    """Where rows come from, and how to read them.

    Attributes:
        path: file, directory, glob, address that fsspec opens, hub id, `python-docs` or `python-questions`.
        format: how files are read, a key of FILE_FORMATS or WHOLE_FORMATS; `auto` goes by each file's ending.
        rows: what the records are, a key of `hanji.data.rows.ROW_FORMATS`; `auto` goes by their fields.
        name: name in the statistics; by default the last part of the path.
        weight: how often each training row is used: 2 twice, 0.5 a fixed half of them, 2.5 every row twice
            and a fixed half a third time. Held-out rows are never repeated or left out.
        columns: our field to their column.
        text_column: the column that holds plain text; the same as columns {text: ...}.
        documents: what one row of a text file is. `file`; `line`; `paragraph` (ended by a blank line);
            `passage`, lines or paragraphs gathered to about 4,000 characters. `auto`: Markdown and short
            text files are one row, longer text is cut into passages.
        header: the names of the columns of CSV and TSV files whose first line is a record already.
        encoding: of text files.
        labels: what the labels of classification rows are: `classes`, `several`, `number`; `auto` goes by
            what they look like in the whole stage.
        label_names: class to its new name.
        label: the label of every row, for sources without a column of them.
        split, subset: of a saved or hub data set.
        max_characters: stop once so many characters were kept; None reads all (of `python-docs` and
            `python-questions`, their own bounds).
    """

    path: str
    format: str = "auto"
    rows: str = "auto"
    name: str | None = None
    weight: float = 1.0
    columns: Mapping[str, str] = field(default_factory=dict)
    text_column: str | None = None
    documents: Documents = "auto"
    header: Sequence[str] | None = None
    encoding: str = "utf-8"
    labels: Literal["auto"] | LabelKind = "auto"
    label_names: Mapping[str, str] = field(default_factory=dict)
    label: str | float | None = None
    split: str | None = None
    subset: str | None = None
    max_characters: int | None = None

    @property
    def title(self) -> str:
        """The name in statistics and row ids."""
        path = self.path.partition("::")[0].rpartition("://")[2]  # of a chained address, the file inside
        parts = PurePosixPath(path.rstrip("/")).parts
        return self.name or "/".join(parts[-2 if "*" in path else -1 :]) or self.path


class SourceReader:
    """Reads a source, and tells how far it has come.

    Raises:
        ConfigError: an unknown format.
        DataError: no such source, or a file that is not what its format says.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.format = _format_of(source)
        _check_options(source, self.format)
        self.files: list[DataFile] = []
        self.notes: list[str] = []
        if self.format not in WHOLE_FORMATS:
            any_file = self.format == "auto"
            suffixes = FORMAT_OF_SUFFIX if any_file else FILE_FORMATS[self.format].suffixes
            found = find_files(source.path, suffixes, any_ending=not any_file)
            self.files = found.files
            if found.passed_over:
                self.notes.append(_passed_over(found.passed_over))
        self._total_bytes = sum(file.size for file in self.files)
        self._finished_bytes = 0
        self._current: IO[bytes] | None = None

    def progress(self, *, finished: bool = False) -> tuple[float, float | None]:
        """Bytes of the stored files read so far and in all; the total is None where there are no files."""
        if finished:
            return self._total_bytes, self._total_bytes or None
        current = self._current.tell() if self._current is not None else 0
        return self._finished_bytes + current, self._total_bytes or None

    def records(self) -> Iterator[Record | Malformed]:
        """The records in the order of the files."""
        if self.format in WHOLE_FORMATS:
            yield from WHOLE_FORMATS[self.format](self.source)
            return
        formats = [self._format_of_file(file) for file in self.files]  # all, before the first is read
        for file, file_format in zip(self.files, formats, strict=True):
            with file.open_raw() as raw:
                self._current = raw
                try:
                    stream = decompressed(raw, file.compression)
                    yield from file_format.read(Opened(stream, file.address), self.source)
                except (EOFError, OSError, UnicodeError, zlib.error, pa.ArrowException) as error:
                    raise DataError(
                        "this file cannot be read to its end",
                        where=file.address,
                        value=f"{type(error).__name__}: {error}",
                        expected=f"a whole file, in {self.source.encoding} if it is text",
                    ) from error
                self._current = None
            self._finished_bytes += file.size

    def _format_of_file(self, file: DataFile) -> FileFormat:
        name = FORMAT_OF_SUFFIX.get(file.suffix) if self.format == "auto" else self.format
        if name is None:
            raise ConfigError(
                "the ending of this file does not tell its format",
                where=file.address,
                expected="one of " + " ".join(sorted(FORMAT_OF_SUFFIX)),
                hint="set the source's `format`",
            )
        if self.source.documents != "auto" and name not in _TEXT_FORMATS:
            raise ConfigError(
                "`documents` says how text is cut, and this is not a text file",
                where=f"{self.source.title}: documents",
                value=file.address,
                expected="text or Markdown files, or no `documents`",
            )
        if self.source.header is not None and name not in _DELIMITED_FORMATS:
            raise ConfigError(
                "`header` names the columns of CSV and TSV files, and this is none",
                where=f"{self.source.title}: header",
                value=file.address,
                expected="CSV or TSV files, or no `header`",
            )
        return FILE_FORMATS[name]


def _check_options(source: Source, format_name: str) -> None:
    served = {"split": ("dataset", "hub"), "subset": ("hub",)}
    for option, formats in served.items():
        value = getattr(source, option)
        if value is not None and format_name not in formats:
            raise ConfigError(
                f"`{option}` has no meaning for this source",
                where=f"{source.title}: {option}",
                value=value,
                expected=f"a source of format {' or '.join(formats)}",
            )
    if source.header is not None and (
        format_name in WHOLE_FORMATS or len(set(source.header)) != len(source.header)
    ):
        raise ConfigError(
            "`header` has no meaning here" if format_name in WHOLE_FORMATS else "two columns of one name",
            where=f"{source.title}: header",
            value=list(source.header),
            expected="a different name for each column of a CSV or TSV file",
        )
    try:
        codecs.lookup(source.encoding)
    except LookupError:
        raise ConfigError(
            "no such encoding",
            where=f"{source.title}: encoding",
            value=source.encoding,
            expected="utf-8, utf-16, cp949, latin-1, ...",
        ) from None


def label_reader(source: Source) -> LabelReader:
    """What reads the labels of the source's records.

    Raises:
        ConfigError: options that contradict each other.
    """
    if source.label_names and source.labels == "number":
        raise ConfigError(
            "numbers have no names",
            where=f"{source.title}: label_names",
            value=dict(source.label_names),
            expected="`labels: classes` or `several`",
        )
    reader = LabelReader(source.labels, source.label_names, source.label)
    if source.label is not None:
        try:
            reader.read(source.label, "label")
        except RowProblem as problem:
            raise ConfigError(
                problem.problem,
                where=f"{source.title}: label",
                value=source.label,
                expected=EXPECTED[source.labels],
            ) from None
    return reader


def _format_of(source: Source) -> str:
    known = [*FILE_FORMATS, *WHOLE_FORMATS]
    if source.format != "auto":
        if source.format not in known:
            near = nearest(source.format, known)
            raise ConfigError(
                "no such format",
                where=f"{source.title}: format",
                value=source.format,
                expected=", ".join(["auto", *known]),
                hint=f"did you mean {near}?" if near else None,
            )
        if source.format == "python-docs" and source.path == "python-questions":
            return source.path
        return source.format
    if source.path in WHOLE_FORMATS:
        return source.path
    if is_saved_dataset(source.path):
        return "dataset"
    suffix = PurePosixPath(source.path).suffix.lower()
    if _HUB_ID.fullmatch(source.path) and suffix not in FORMAT_OF_SUFFIX and not exists(source.path):
        return "hub"
    return "auto"


def _passed_over(files: list[str]) -> str:
    shown = ", ".join(files[:3]) + (", …" if len(files) > 3 else "")
    return f"{len(files)} files were passed over, as their endings tell no format that is read here: {shown}"
