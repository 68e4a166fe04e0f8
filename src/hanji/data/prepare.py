"""Sources to prepared data: read, converted, cleaned, without copies, split, counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from hanji.contracts.errors import ConfigError, DataError
from hanji.contracts.progress import Progress, Silent
from hanji.data.cleaning import Cleaning
from hanji.data.counts import Counts, SourceCounts
from hanji.data.decontamination import drop_near_copies
from hanji.data.hashing import DigestSet, digest
from hanji.data.kinds.labelled import LabelledRow
from hanji.data.kinds.row import Row, content_bytes, said, size_of
from hanji.data.records import Malformed, Record, RowProblem
from hanji.data.rows import RowMaker
from hanji.data.shards import ShardWriter, to_stored
from hanji.data.skipped import SkippedRows
from hanji.data.sources import Source, SourceReader, label_reader
from hanji.data.splits import Splitter, copies
from hanji.data.stage_labels import StageLabels

_PROGRESS_SECONDS = 0.5


def prepare(
    sources: Sequence[Source],
    directory: Path,
    *,
    split: Mapping[str, float] | None = None,
    deduplicate: Literal["none", "exact"] = "exact",
    clean: Cleaning | None = None,
    decontaminate: bool = False,
    on_error: Literal["stop", "skip"] = "stop",
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes prepared data into `directory`; the text is streamed, so that it may be larger than memory.

    Args:
        split: held-out split to its share of the rows. A row's place is a hash of its group where the source
            has groups, of what comes before the first answer of chats and preferences, else of its text, the
            first of two.
        deduplicate: `exact` keeps the first of the rows whose cleaned content is equal.
        clean: how text is cleaned; by default NFC without control characters.
        decontaminate: drop held-out rows of which half the word 8-grams stand in training rows.
        on_error: `skip` writes malformed rows to skipped.jsonl instead of stopping at the first.
        limit: read at most this many records of each source.
        seed: of the splits.

    Returns:
        The statistics, which are also in `statistics.json`.

    Raises:
        DataError: a source that cannot be read, a malformed row under `stop`, rows or labels of different
            kinds, or nothing to train on.
        ConfigError: sources or shares that make no sense.
    """
    progress, shares = progress or Silent(), dict(split or {})
    _check(sources)
    directory.mkdir(parents=True, exist_ok=True)
    skipped = SkippedRows(directory / "skipped.jsonl", on_error == "skip")
    seen = DigestSet() if deduplicate == "exact" else None
    work = _Preparation(directory, clean or Cleaning(), seen, Splitter(shares, seed), skipped, seed, progress)
    try:
        for source in sources:
            work.add(source, limit)
    finally:
        work.close()
    counts = work.counts
    if work.kind is None or "train" not in counts.splits:
        raise _nothing_to_train_on(sources, counts)
    if decontaminate:
        for name in sorted(counts.splits.keys() - {"train"}):
            drop_near_copies(directory, name, work.kind, counts, progress)
    for name, share in shares.items():
        if share and name not in counts.splits:
            progress.note(f"The split {name} has no rows: too few for a share of {share:g}.")
    labels = work.labels.finish(directory, counts.splits, progress) if work.kind == "labelled" else None
    statistics = counts.statistics(work.kind, seed, shares, labels)
    text = json.dumps(statistics, ensure_ascii=False, indent=2)
    (directory / "statistics.json").write_text(text + "\n", encoding="utf-8")
    return statistics


class _Preparation:
    """What is open while sources are being read."""

    def __init__(
        self,
        directory: Path,
        clean: Cleaning,
        seen: DigestSet | None,
        splitter: Splitter,
        skipped: SkippedRows,
        seed: int,
        progress: Progress,
    ) -> None:
        self.counts, self.labels = Counts(), StageLabels()
        self._first: Row | None = None
        self._directory, self._clean, self._seen, self._splitter = directory, clean, seen, splitter
        self._skipped, self._seed, self._progress = skipped, seed, progress
        self._writers: dict[str, ShardWriter] = {}

    @property
    def kind(self) -> str | None:
        """Of the rows so far."""
        return None if self._first is None else self._first.kind

    def add(self, source: Source, limit: int | None) -> None:
        """Reads a source to its end, or to its first `limit` records."""
        reader = SourceReader(source)
        labels = label_reader(source)
        maker = RowMaker(source.rows, source.columns, source.text_column, labels)
        title = source.title
        counts = self.counts.sources[title] = SourceCounts(weight=source.weight, files=len(reader.files))
        for told_once in reader.notes:
            self._progress.note(f"{title}: {told_once}")
        started = told = monotonic()
        for item in islice(reader.records(), limit):
            counts.read += 1
            self._take(item, maker, source, title, counts)
            if monotonic() - told > _PROGRESS_SECONDS:
                told = monotonic()
                done, total = reader.progress()
                self._progress.advance(f"read {title}", done, total, rows=counts.read)
            if source.max_characters is not None and counts.characters >= source.max_characters:
                break
        counts.row_formats = maker.row_formats
        counts.seconds = monotonic() - started
        self._progress.advance(f"read {title}", *reader.progress(finished=True), rows=counts.read)
        if counts.skipped:
            self._progress.note(f"{title}: {counts.skipped} malformed rows are in skipped.jsonl.")
        if labels.unmet:
            unmet = ", ".join(sorted(labels.unmet))
            self._progress.note(f"{title}: no row has what `label_names` renames: {unmet}.")

    def close(self) -> None:
        """Ends every file."""
        for writer in self._writers.values():
            writer.close()
        self._skipped.close()

    def _take(
        self, item: Record | Malformed, maker: RowMaker, source: Source, title: str, counts: SourceCounts
    ) -> None:
        try:
            if isinstance(item, Malformed):
                raise item.problem
            row = maker.row(item.value, item.file).cleaned(self._clean)
            self._check_kind(row, title)
            if row.empty:
                counts.empty += 1
                return
            identity = digest(content_bytes(row))
        except RowProblem as problem:
            raw = item.raw if isinstance(item, Malformed) else item.value
            self._skipped.add(problem, raw, item.file, item.line)
            counts.skipped += 1
            return
        if self._seen is not None and not self._seen.add(identity):
            counts.duplicates += 1
            return
        if isinstance(row, LabelledRow):
            row = self.labels.settled(row, item.file, item.line)
        name = self._splitter.split(item.group or row.split_key())
        times = 1 if name != "train" else copies(f"{identity:016x}", source.weight, self._seed)
        counts.left_out += times == 0
        counts.repeated += max(times - 1, 0)
        for copy in range(times):
            suffix = f"#{copy + 1}" if copy else ""
            self._write(row, name, title, f"{title}:{identity:016x}{suffix}")

    def _write(self, row: Row, split: str, source: str, row_id: str) -> None:
        if split not in self._writers:
            self._writers[split] = ShardWriter(self._directory, split, row.kind)
        values = row.values()
        characters, size = size_of(said(values))
        self._writers[split].write({**to_stored(values), "source": source, "id": row_id}, size)
        self.counts.wrote(source, split, characters, size)

    def _check_kind(self, row: Row, title: str) -> None:
        if self._first is None:
            self._first = row
        elif self._first.kind != row.kind:
            raise DataError(
                f"{self._first.plural} and {row.plural} cannot be prepared together",
                where=title,
                value=row.kind,
                expected=f"{self._first.kind} rows, like those of the sources before it",
                hint="prepare them in two stages",
            )


def _check(sources: Sequence[Source]) -> None:
    titles = [source.title for source in sources]
    for source in sources:
        if titles.count(source.title) > 1:
            raise ConfigError(
                "two sources of one name",
                where="source",
                value=source.title,
                expected="a different `name` for each",
            )
        if source.weight <= 0:
            raise ConfigError(
                "a source without weight",
                where=f"{source.title}: weight",
                value=source.weight,
                expected="a number above 0: how often each training row is used",
            )


def _nothing_to_train_on(sources: Sequence[Source], counts: Counts) -> DataError:
    found = counts.sources.values()
    told = ("read", "skipped", "empty", "duplicates", "left_out")
    return DataError(
        "no rows to train on",
        where=", ".join(source.title for source in sources),
        value={key: sum(getattr(of_source, key) for of_source in found) for key in told},
        expected="at least one row outside the held-out splits",
    )
