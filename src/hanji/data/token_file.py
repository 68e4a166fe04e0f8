"""The Arrow file of a token store: how rows are written to it, and where they lie in it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hanji.contracts.rows import TokenRows
from hanji.data.overlong import trained_per_row

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SCHEMA = pa.schema(
    [
        pa.field("ids", pa.large_list(pa.field("item", pa.int32(), nullable=False)), nullable=False),
        # one bit a token; null where all but the first token of the row are trained, as in plain text
        pa.field("trained", pa.large_list(pa.field("item", pa.bool_(), nullable=False))),
        pa.field("text_bytes", pa.int64(), nullable=False),
        pa.field("border", pa.int64(), nullable=False),  # 0 where a row has no second part
        pa.field("targets", pa.large_list(pa.field("item", pa.float64(), nullable=False)), nullable=False),
    ]
)
_BATCH_TOKENS = 2**20
_HISTOGRAM_BARS = 64


class TokenFileWriter:
    """Writes rows in record batches of about `_BATCH_TOKENS` tokens, and counts what it writes."""

    def __init__(self, path: Path, sequence_length: int) -> None:
        self.path = path
        self.rows = self.tokens = self._trained = self._text_bytes = 0
        self._lengths = np.zeros(sequence_length + 1, np.int64)
        self._pending: list[TokenRows] = []
        self._pending_tokens = 0

    def __enter__(self) -> TokenFileWriter:
        self._file = _Summed(self.path)
        self._ipc = pa.ipc.new_file(pa.PythonFile(self._file, mode="w"), SCHEMA)
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if failed is None:
                self._flush()
                self._ipc.close()

    def write(self, rows: TokenRows) -> None:
        """Appends `rows`, each of 2 to `sequence_length` tokens, the first of them not trained."""
        assert rows.ids.dtype == np.int32 and rows.text_bytes.dtype == np.int64, "types of a TokenRows"
        self._pending.append(rows)
        self._pending_tokens += len(rows.ids)
        self.rows += len(rows)
        self.tokens += len(rows.ids)
        if self._pending_tokens >= _BATCH_TOKENS:
            self._flush()

    def _flush(self) -> None:
        rows = self._pending[0] if len(self._pending) == 1 else TokenRows.concatenate(self._pending)
        self._pending, self._pending_tokens = [], 0
        if not len(rows):
            return
        learned = trained_per_row(rows)
        plain = learned == rows.lengths - 1
        masks = rows.trained[:0] if plain.all() else rows.trained[np.repeat(~plain, rows.lengths)]
        mask_offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(plain, 0, rows.lengths))])
        borders = np.zeros(len(rows), np.int64) if rows.borders is None else rows.borders
        columns = [
            _column("ids", len(rows), rows.offsets, _array(pa.int32(), len(rows.ids), rows.ids)),
            _column("trained", len(rows), mask_offsets, _array(pa.bool_(), len(masks), _bits(masks)), ~plain),
            _array(pa.int64(), len(rows), rows.text_bytes),
            _array(pa.int64(), len(rows), borders),
            _targets(rows),
        ]
        self._ipc.write_batch(pa.record_batch(columns, schema=SCHEMA))
        self._trained += int(learned.sum())
        self._text_bytes += int(rows.text_bytes.sum())
        self._lengths += np.bincount(rows.lengths, minlength=len(self._lengths))

    def statistics(self) -> dict[str, Any]:
        """Of the file, once it is closed."""
        data = {"file": self.path.name, "bytes": self.path.stat().st_size, "sha256": self._file.sha256()}
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "trained_tokens": self._trained,
            "text_bytes": self._text_bytes,
            "lengths": _describe(self._lengths),
            "data": data,
        }


class _Summed(io.BufferedWriter):
    """A file to write to that sums up what is written: it need not be read again for its checksum."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self._sum = hashlib.sha256()

    def write(self, data: ReadableBuffer, /) -> int:
        """Writes all of it."""
        self._sum.update(data)
        return super().write(data)

    def sha256(self) -> str:
        """Of all that was written."""
        return self._sum.hexdigest()


def row_spans(batch: pa.RecordBatch, buffer: pa.Buffer) -> tuple[NDArray[np.int64], ...]:
    """Where the rows of a record batch are in the file.

    Returns:
        lengths, starts in words of 4 bytes, starts of the masks in bits (−1 without a mask), text_bytes;
        each [rows] int64.

    Raises:
        ValueError: a row lies outside the file.
    """
    ids, trained, text_bytes, *_ = batch.columns
    offsets = np.frombuffer(ids.buffers()[1], np.int64)[: len(ids) + 1]
    first = ids.buffers()[3].address - buffer.address
    lengths = np.diff(offsets)
    starts = first // 4 + offsets[:-1]
    whole = bool((lengths >= 2).all()) and first % 4 == 0 and first >= 0 and offsets[0] >= 0
    if not whole or (starts[-1] + lengths[-1]) * 4 > buffer.size:
        raise ValueError("a row lies outside the file")
    bit_starts = np.full(len(ids), -1, np.int64)
    if trained.null_count < len(trained):
        bitmap = trained.buffers()[0]
        masked = np.ones(len(trained), np.bool_)
        if bitmap is not None:
            masked = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")[: len(ids)] == 1
        ends = np.frombuffer(trained.buffers()[1], np.int64)[: len(trained) + 1]
        first = (trained.buffers()[3].address - buffer.address) * 8
        bit_starts[masked] = first + ends[:-1][masked]
        if (np.diff(ends) != np.where(masked, lengths, 0)).any() or first < 0 or ends[0] < 0:
            raise ValueError("a row and its mask differ in length")
        if first + ends[-1] > buffer.size * 8:
            raise ValueError("a mask lies outside the file")
    return lengths, starts, bit_starts, np.frombuffer(text_bytes.buffers()[1], np.int64)[: len(ids)]


def whole_rows(batch: pa.RecordBatch) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of a record batch: where each row's second part begins, [rows], and its targets, [rows, targets]."""
    border, targets = batch.columns[3:]
    offsets = np.frombuffer(targets.buffers()[1], np.int64)[: len(batch) + 1]
    each = (int(offsets[-1]) - int(offsets[0])) // max(len(batch), 1)
    values = np.frombuffer(targets.buffers()[3] or b"", np.float64)[int(offsets[0]) : int(offsets[-1])]
    return np.frombuffer(border.buffers()[1], np.int64)[: len(batch)], values.reshape(len(batch), each)


def _targets(rows: TokenRows) -> pa.Array:
    values = np.zeros((len(rows), 0)) if rows.targets is None else rows.targets
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * values.shape[1]
    return _column("targets", len(rows), offsets, _array(pa.float64(), values.size, values.ravel()))


# pa.array() of a NumPy array imports pandas, half a second of it; these do not
def _array(kind: pa.DataType, length: int, values: NDArray[Any]) -> pa.Array:
    return pa.Array.from_buffers(kind, length, [None, pa.py_buffer(np.ascontiguousarray(values))])


def _column(
    name: str, rows: int, offsets: NDArray[np.int64], values: pa.Array, valid: NDArray[np.bool_] | None = None
) -> pa.Array:
    buffers = [None if valid is None else pa.py_buffer(_bits(valid)), pa.py_buffer(offsets)]
    return pa.Array.from_buffers(SCHEMA.field(name).type, rows, buffers, children=[values])


def _bits(values: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(values, bitorder="little")


def _describe(counts: NDArray[np.int64]) -> dict[str, Any]:
    """The distribution of lengths, from how many rows have each length: [longest + 1]."""
    if not counts.any():
        return {}
    present = np.flatnonzero(counts)
    so_far, rows = np.cumsum(counts), int(counts.sum())
    width = -(-len(counts) // _HISTOGRAM_BARS)
    bars = np.add.reduceat(counts, np.arange(0, len(counts), width))
    return {
        "shortest": int(present[0]),
        "longest": int(present[-1]),
        "mean": float(np.arange(len(counts)) @ counts / rows),
        "median": int(np.searchsorted(so_far, rows / 2)),
        "p95": int(np.searchsorted(so_far, rows * 0.95)),
        "histogram": {"bar_tokens": width, "rows": bars.tolist()},
    }


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
