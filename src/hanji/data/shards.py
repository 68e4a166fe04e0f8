"""Prepared rows as Parquet shards: written in bounded memory, read in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMAS = {
    "text": pa.schema([("text", pa.string()), ("source", pa.string()), ("id", pa.string())]),
    "chat": pa.schema(
        [("messages", pa.string()), ("tools", pa.string()), ("source", pa.string()), ("id", pa.string())]
    ),
}
"""Columns by kind of row; messages and tools are JSON."""

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
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
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


def from_stored(row: dict[str, Any]) -> dict[str, Any]:
    """A stored row with its messages and tools as lists."""
    if "messages" not in row:
        return row
    tools = json.loads(row["tools"]) if row["tools"] is not None else None
    return {**row, "messages": json.loads(row["messages"]), "tools": tools}
