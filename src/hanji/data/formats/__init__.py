"""The registry of formats: a new one is a file in this folder and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from hanji.data.formats.columnar import read_arrow, read_parquet
from hanji.data.formats.datasets_library import read_hub_dataset, read_saved_dataset
from hanji.data.formats.delimited import read_csv, read_tsv
from hanji.data.formats.json_lines import read_json, read_json_lines
from hanji.data.formats.text import read_markdown, read_text
from hanji.data.python_docs import read_python_docs, read_python_questions
from hanji.data.records import Malformed, Record

if TYPE_CHECKING:
    from hanji.data.sources import Source

Records = Iterator[Record | Malformed]


@dataclass(frozen=True, slots=True)
class Opened:
    """A file being read: its bytes without compression, and how people name it."""

    stream: IO[bytes]
    file: str


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How files with one of `suffixes` become records."""

    suffixes: tuple[str, ...]
    read: Callable[[Opened, Source], Records]


FILE_FORMATS: Mapping[str, FileFormat] = {
    "text": FileFormat(
        (".txt", ".text", ".rst"), lambda o, s: read_text(o.stream, o.file, s.encoding, s.documents)
    ),
    "markdown": FileFormat(
        (".md", ".markdown", ".mdx"), lambda o, s: read_markdown(o.stream, o.file, s.encoding, s.documents)
    ),
    "json": FileFormat((".json",), lambda o, s: read_json(o.stream, o.file, s.encoding)),
    "jsonl": FileFormat((".jsonl", ".ndjson"), lambda o, s: read_json_lines(o.stream, o.file, s.encoding)),
    "csv": FileFormat((".csv",), lambda o, s: read_csv(o.stream, o.file, s.encoding, s.header)),
    "tsv": FileFormat((".tsv", ".tab"), lambda o, s: read_tsv(o.stream, o.file, s.encoding, s.header)),
    "parquet": FileFormat((".parquet",), lambda o, _: read_parquet(o.stream, o.file)),
    "arrow": FileFormat((".arrow", ".feather"), lambda o, _: read_arrow(o.stream, o.file)),
}
"""Formats of single files."""

WHOLE_FORMATS: Mapping[str, Callable[[Source], Records]] = {
    "dataset": lambda s: read_saved_dataset(s.path, s.split),
    "hub": lambda s: read_hub_dataset(s.path, s.subset, s.split),
    "python-docs": lambda s: read_python_docs(s.max_characters),
    "python-questions": lambda s: read_python_questions(s.max_characters),
}
"""Sources that are not read file by file."""

FORMAT_OF_SUFFIX: Mapping[str, str] = {
    suffix: name for name, file_format in FILE_FORMATS.items() for suffix in file_format.suffixes
}
