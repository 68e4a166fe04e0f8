"""Prepared rows as Parquet shards: written in bounded memory, read in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from hanji.data.kinds.row import as_json


def _schema(*columns: str, numbers: tuple[str, ...] = ()) -> pa.Schema:
    typed = [(name, pa.float64() if name in numbers else pa.string()) for name in columns]
    return pa.schema([*typed, ("source", pa.string()), ("id", pa.string())])


SCHEMAS: Final[Mapping[str, pa.Schema]] = {
    "text": _schema("text"),
    "chat": _schema("messages", "tools"),
    "labelled": _schema("text", "text_pair", "label"),
    "preference": _schema("messages", "chosen", "rejected", "tools", "margin", numbers=("margin",)),
}
"""Columns by kind of row."""

_JSON: Final = ("messages", "chosen", "rejected", "tools", "label")
"""Columns of any kind that hold JSON, where they are not null."""

COMPRESSION: Final = "zstd"
GROUP_BYTES = 8 << 20
SHARD_BYTES = 256 << 20
"""Text in one row group, and in one file."""


class ShardWriter:
    """Writes `<split>-00000.parquet` and so on."""

    def __init__(self, directory: Path, split: str, kind: str) -> None:
        self._directory, self._split, self._schema = directory, split, SCHEMAS[kind]
        self._waiting: list[dict[str, Any]] = []
        self._waiting_bytes = 0
        self._shards, self._shard_bytes = 0, 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, row: dict[str, Any], size: int) -> None:
        """Adds a row with the schema's columns; `size`: bytes of its text."""
        self._waiting.append(row)
        self._waiting_bytes += size
        if self._waiting_bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Writes what is waiting, and ends the file."""
        self._flush()
        self._end_shard()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._writer is None:
            path = self._directory / f"{self._split}-{self._shards:05d}.parquet"
            self._writer = pq.ParquetWriter(path, self._schema, compression=COMPRESSION)
            self._shards += 1
        self._writer.write_table(pa.Table.from_pylist(self._waiting, self._schema))
        self._shard_bytes += self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0
        if self._shard_bytes >= SHARD_BYTES:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._shard_bytes = None, 0


def shard_paths(directory: Path, split: str) -> list[Path]:
    """The files of a split, in order."""
    return sorted(directory.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9].parquet"))


def read_shards(paths: list[Path], batch_rows: int) -> Iterator[list[dict[str, Any]]]:
    """The rows as they were written, in batches."""
    for path in paths:
        with pq.ParquetFile(path) as parquet:
            for group in range(
                parquet.num_row_groups
            ):  # iter_batches would keep what it has read of the file
                for batch in parquet.read_row_group(group).to_batches(max_chunksize=batch_rows):
                    yield batch.to_pylist()


def to_stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row as they are stored."""
    return {
        name: as_json(value) if name in _JSON and value is not None else value
        for name, value in values.items()
    }


def from_stored(row: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row as it is read back: messages, answers and tools are lists, labels what they are."""
    opened = dict(row)
    for name in _JSON:
        if row.get(name) is not None:
            opened[name] = json.loads(row[name])
    return opened
