"""Parquet and Arrow (files and streams, Feather version 2 among them), a batch at a time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hanji.contracts.errors import DataError
from hanji.data.records import Record

_BATCH_ROWS = 1024


def read_parquet(stream: IO[bytes], file: str) -> Iterator[Record]:
    """The rows of a Parquet file.

    Raises:
        DataError: it is not Parquet.
    """
    try:
        parquet = pq.ParquetFile(_seekable(stream))
    except pa.ArrowInvalid as error:
        raise _not_this("Parquet", file, error) from None
    # group by group: what iter_batches has read of a file, it keeps until the end of its groups
    groups = range(parquet.num_row_groups)
    batches = (parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group]) for group in groups)
    yield from _records(chain.from_iterable(batches), file)


def read_arrow(stream: IO[bytes], file: str) -> Iterator[Record]:
    """The rows of an Arrow file or stream.

    Raises:
        DataError: it is neither.
    """
    opened = _seekable(stream)
    try:
        arrow_file = pa.ipc.open_file(opened)
        batches = (arrow_file.get_batch(index) for index in range(arrow_file.num_record_batches))
    except pa.ArrowInvalid:
        opened.seek(0)
        try:
            batches = iter(pa.ipc.open_stream(opened))
        except pa.ArrowInvalid as error:
            raise _not_this("Arrow", file, error) from None
    yield from _records(batches, file)


def _records(batches: Iterable[Any], file: str) -> Iterator[Record]:
    row = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            for value in batch.slice(start, _BATCH_ROWS).to_pylist():
                row += 1
                yield Record(value, file, row)


def _seekable(stream: IO[bytes]) -> IO[bytes]:
    # both formats are read from their end; one that lies compressed is unpacked in memory
    return stream if stream.seekable() else io.BytesIO(stream.read())


def _not_this(format_name: str, file: str, error: Exception) -> DataError:
    return DataError(f"this is not a {format_name} file", where=file, value=str(error))
