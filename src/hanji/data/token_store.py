"""Tokens on disk: made once, mapped into memory, read row by row without a copy of the corpus."""

from __future__ import annotations

import errno
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hanji.contracts.disk import flush
from hanji.contracts.errors import ArtifactError, DataError, ResourceError
from hanji.contracts.progress import Progress, Silent
from hanji.contracts.rows import TokenRows
from hanji.data.overlong import Overlong, RowCounts, fit_rows, span_positions
from hanji.data.token_file import SCHEMA, TokenFileWriter, row_spans, sha256, whole_rows

TOKENS = "tokens.arrow"
STATISTICS = "statistics.json"


class TokenStore:
    """Tokenised rows in a memory-mapped Arrow file, with `statistics.json` beside it.

    Only where rows begin is held in memory (24 bytes a row, and targets where there are some); the tokens
    stay in the file, and the operating system reads the pages that are asked for. A store may be larger than
    memory.

    Attributes:
        lengths: [rows] int64, tokens of each row, 2 at least.
        statistics: rows, tokens, trained_tokens, text_bytes, lengths, what happened to over-long rows, and
            the size and checksum of the data.
    """

    def __init__(self, directory: Path, buffer: pa.Buffer, statistics: dict[str, Any]) -> None:
        """For `open`, which checks what it passes."""
        self.directory = directory
        self.statistics = statistics
        # the whole file as bytes and as words: a row is then a span of the file, whichever batch it is in
        self._bytes = np.frombuffer(buffer, np.uint8)
        self._words = np.frombuffer(buffer[: buffer.size // 4 * 4], np.int32)
        reader = pa.ipc.open_file(pa.BufferReader(buffer))
        if not reader.schema.equals(SCHEMA):
            raise ValueError("the columns are not those of a token store")
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        spans = [row_spans(batch, buffer) for batch in batches]
        parts = zip(*spans, strict=True) if spans else [[np.zeros(0, np.int64)]] * 4
        self.lengths, self._starts, self._bit_starts, self._text_bytes = map(np.concatenate, parts)
        borders, targets = zip(*map(whole_rows, batches), strict=True) if batches else ((), ())
        self._borders = np.concatenate(borders) if any(part.any() for part in borders) else None
        self._targets = np.concatenate(targets) if any(part.size for part in targets) else None

    @classmethod
    def open(cls, directory: Path) -> TokenStore:
        """Maps the store in `directory`.

        Raises:
            ArtifactError: it is missing, cut short, or not a token store.
        """
        path = directory / TOKENS
        hint = "delete the directory; it is made again when it is needed"
        try:
            statistics = json.loads((directory / STATISTICS).read_text("utf-8"))
            expected, rows = int(statistics["data"]["bytes"]), int(statistics["rows"])
            if path.stat().st_size != expected:
                raise ValueError(f"{path.stat().st_size:,} bytes, {expected:,} were written")
            store = cls(directory, pa.memory_map(str(path)).read_buffer(), statistics)
            if len(store) != rows:
                raise ValueError(f"{len(store):,} rows, {rows:,} were written")
        except FileNotFoundError as error:
            raise ArtifactError("there is no token store here", where=str(error.filename or path)) from error
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise ArtifactError(
                f"this token store is damaged: {error}", where=str(path), hint=hint
            ) from error
        return store

    def verify(self) -> None:
        """Reads the whole file and compares its checksum.

        Raises:
            ArtifactError: the data is not what was written.
        """
        path, expected = self.directory / TOKENS, self.statistics["data"]["sha256"]
        if sha256(path) != expected:
            raise ArtifactError(
                "this token store does not match its checksum",
                where=str(path),
                expected=f"sha256 {expected}",
                hint="delete the directory; it is made again when it is needed",
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, indices: NDArray[np.int64]) -> TokenRows:
        """The rows at `indices`, in that order."""
        lengths, bit_starts = self.lengths[indices], self._bit_starts[indices]
        ids = self._words[span_positions(self._starts[indices], lengths)]
        trained = np.ones(len(ids), np.bool_)
        trained[np.cumsum(lengths) - lengths] = False
        masked = bit_starts >= 0
        if masked.any():
            bits = span_positions(bit_starts[masked], lengths[masked])
            values = (self._bytes[bits >> 3] >> (bits & 7).astype(np.uint8)) & 1
            trained[np.repeat(masked, lengths)] = values.astype(np.bool_)
        borders, targets = (
            None if of_rows is None else of_rows[indices] for of_rows in (self._borders, self._targets)
        )
        return TokenRows(ids, lengths, trained, self._text_bytes[indices], borders, targets)

    def add_targets(self, values: NDArray[np.float64]) -> None:
        """Gives each row further targets, [rows, targets], after those it has; they are not written."""
        assert len(values) == len(self), "a target for each row"
        own = values[:, :0] if self._targets is None else self._targets
        self._targets = np.concatenate([own, values], axis=1)


def build_token_store(
    batches: Iterator[list[dict[str, Any]]],
    encode: Callable[[Sequence[Mapping[str, Any]]], TokenRows],
    directory: Path,
    *,
    sequence_length: int,
    overlong: Overlong,
    progress: Progress | None = None,
    total_rows: int | None = None,
) -> TokenStore:
    """Tokenises `batches` into a store at `directory`, replacing what is there; all of it, or nothing.

    A batch of rows is in memory at a time. See `overlong.fit_rows` for what becomes of rows that are too long
    or teach nothing; their counts are in the statistics, and noted to `progress`.

    Args:
        encode: an objective's, from rows of data to rows of tokens.
        total_rows: for the progress, where known.

    Raises:
        DataError: a row is too long and `overlong` is `error`, or no row is left.
        ResourceError: the disk is full.
    """
    progress = progress or Silent()
    counts = RowCounts()
    try:
        with _atomically(directory) as partial:
            with TokenFileWriter(partial / TOKENS, sequence_length) as writer:
                for batch in _read_ahead(batches):
                    rows = encode(batch)
                    name = _Namer(batch if len(rows) == len(batch) else [], counts.given)
                    writer.write(fit_rows(rows, sequence_length, overlong, counts, name))
                    progress.advance("tokens", counts.given, total_rows, tokens=float(writer.tokens))
            _note(counts, sequence_length, progress)
            if not writer.rows:
                raise _nothing_left(directory, counts, sequence_length)
            how = {"sequence_length": sequence_length, "overlong": overlong, "source": asdict(counts)}
            statistics = writer.statistics() | how
            (partial / STATISTICS).write_text(json.dumps(statistics, indent=2) + "\n", "utf-8")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = "make room and run again"
        raise ResourceError("the disk is full", where=str(directory), hint=hint) from error
    return TokenStore.open(directory)


def _read_ahead(batches: Iterator[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """The same batches; the next is read while this one is encoded, for both let other threads run."""
    with ThreadPoolExecutor(1, "read ahead") as reader:
        waiting = reader.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = reader.submit(next, batches, None)
            yield batch


def _nothing_left(directory: Path, counts: RowCounts, sequence_length: int) -> DataError:
    return DataError(
        "no row is left to learn from",
        where=str(directory),
        value=f"{counts.given} rows: {counts.untrained} without a trained token, "
        f"{counts.dropped} dropped as longer than {sequence_length} tokens",
        hint="look at the data, raise sequence_length, or choose overlong: split or truncate",
    )


class _Namer:
    """Says which row of a batch is meant: its source and id where it has them, and its number."""

    def __init__(self, batch: Sequence[Mapping[str, Any]], before: int) -> None:
        self._batch, self._before = batch, before

    def __call__(self, index: int) -> str:
        row = self._batch[index] if self._batch else {}
        named = [str(row[key]) for key in ("source", "id") if row.get(key)]
        return ": ".join([*named, f"row {self._before + index + 1}"])


def _note(counts: RowCounts, sequence_length: int, progress: Progress) -> None:
    if counts.overlong:
        done = {
            f"{counts.dropped:,} were dropped": counts.dropped,
            f"{counts.split:,} were split into {counts.pieces:,} pieces": counts.split,
            f"{counts.truncated:,} were truncated, {counts.truncated_without_end:,} of them in the middle of "
            "what is learned": counts.truncated,
        }
        what = "; ".join(text for text, number in done.items() if number)
        lost = f"; {counts.tokens_lost:,} tokens are lost" if counts.tokens_lost else ""
        progress.note(
            f"{counts.overlong:,} of {counts.given:,} rows are longer than {sequence_length:,} tokens: "
            f"{what}{lost}"
        )
    if counts.untrained:
        progress.note(f"{counts.untrained:,} rows without a token to learn were dropped")


@contextmanager
def _atomically(directory: Path) -> Iterator[Path]:
    """A new directory that takes the place of `directory` when the block ends well, or goes away."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    name = f".{directory.name}.{uuid.uuid4().hex[:12]}"
    partial, old = directory.with_name(f"{name}.partial"), directory.with_name(f"{name}.old")
    partial.mkdir()
    try:
        yield partial
        for path in (*partial.iterdir(), partial):
            flush(path)
        while not (_is_same(directory, partial) or _take_place(partial, directory, old)):
            pass  # another process put its own there in between
        flush(directory.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _is_same(directory: Path, partial: Path) -> bool:
    """Whether a sound store with the same content is there: made by another rank, and perhaps in use."""
    try:
        return TokenStore.open(directory).statistics == TokenStore.open(partial).statistics
    except ArtifactError:
        return False


def _take_place(partial: Path, directory: Path, old: Path) -> bool:
    """Renames `partial` to `directory`, and what was there to `old`; False where somebody came between."""
    shutil.rmtree(old, ignore_errors=True)
    try:
        with suppress(FileNotFoundError):
            directory.rename(old)
        partial.rename(directory)
    except OSError:
        if not directory.exists():
            raise
        return False
    return True
