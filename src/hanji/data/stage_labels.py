"""The labels of a whole stage: of one kind, which may show only at its end, and counted."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from hanji.contracts.errors import DataError
from hanji.contracts.progress import Progress
from hanji.data.kinds.labelled import LabelledRow
from hanji.data.labels import EXPECTED, LabelKind, Whole, in_order
from hanji.data.shards import COMPRESSION, shard_paths

_PLURALS: Final = {
    None: "whole numbers",
    "classes": "names",
    "several": "lists of names",
    "number": "numbers",
}


class StageLabels:
    """Decides what the labels are: whole numbers are names of classes unless a fraction is among them."""

    def __init__(self) -> None:
        self._kind: LabelKind | None = None
        self._whole_as_names = False

    def settled(self, row: LabelledRow, file: str, line: int) -> LabelledRow:
        """The row with its label as the labels before it were.

        Raises:
            DataError: this one is of another kind.
        """
        label = row.label
        if isinstance(label, Whole):
            if self._kind == "number":
                return replace(row, label=float(label.text))
            if self._kind != "several":
                self._whole_as_names = True
                return row
        found = _kind_of(label)
        if self._kind not in (None, found) or (found == "several" and self._whole_as_names):
            raise DataError(
                f"{_PLURALS[self._kind]} and {_PLURALS[found]} cannot be labels of one task",
                where=f"{file}:{line}",
                value=row.values()["label"],
                expected=f"{EXPECTED[self._kind or 'classes']}, like the labels before it",
                hint="say what they are: `labels: classes`, `several` or `number` in every source",
            )
        self._kind = found
        return row

    def finish(self, directory: Path, splits: Iterable[str], progress: Progress) -> dict[str, Any]:
        """Mends labels that were written before the decision, and counts those of the training rows.

        Returns:
            `kind`; `counts`, the training rows of each class in the order of the names; or, of numbers,
            `minimum`, `maximum` and `mean`.
        """
        kind = self._kind or "classes"
        if kind == "number" and self._whole_as_names:
            for split in splits:
                _as_numbers(directory, split)
        if kind == "number":
            return {"kind": kind, **_spread(_stored(directory, "train"))}
        counts = {split: _counted(_stored(directory, split)) for split in splits}
        trained = counts["train"]
        names = in_order({name for found in counts.values() for name in found})
        if untrained := [name for name in names if not trained[name]]:
            progress.note(f"No training row has these labels, only held-out rows do: {', '.join(untrained)}.")
        return {"kind": kind, "counts": {name: trained[name] for name in names}}


def _kind_of(label: object) -> LabelKind | None:
    kinds: dict[type, LabelKind] = {str: "classes", tuple: "several", float: "number"}
    return kinds.get(type(label))


def _as_numbers(directory: Path, split: str) -> None:
    """Writes the shards of a split anew, their labels as numbers."""
    for path in shard_paths(directory, split):
        renewed = path.with_suffix(".renewed")
        with pq.ParquetFile(path) as parquet:
            schema = parquet.schema_arrow
            place = schema.get_field_index("label")
            with pq.ParquetWriter(renewed, schema, compression=COMPRESSION) as writer:
                for group in range(parquet.num_row_groups):
                    table = parquet.read_row_group(group)
                    numbers = [json.dumps(float(json.loads(text))) for text in table["label"].to_pylist()]
                    writer.write_table(table.set_column(place, "label", pa.array(numbers, pa.string())))
        renewed.replace(path)


def _stored(directory: Path, split: str) -> Iterator[Counter[str]]:
    """The labels of a split as they are stored, with how often each occurs, a part at a time."""
    for path in shard_paths(directory, split):
        with pq.ParquetFile(path) as parquet:
            for group in range(parquet.num_row_groups):
                yield Counter(parquet.read_row_group(group, columns=["label"])["label"].to_pylist())


def _counted(parts: Iterable[Counter[str]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for part in parts:
        for text, rows in part.items():
            label = json.loads(text)
            for name in label if isinstance(label, list) else [label]:
                counts[name] += rows
    return counts


def _spread(parts: Iterable[Counter[str]]) -> dict[str, float]:
    rows, total, least, most = 0, 0.0, math.inf, -math.inf
    for part in parts:
        numbers = {float(text): count for text, count in part.items()}
        rows += part.total()
        total += math.fsum(number * count for number, count in numbers.items())
        least, most = min(least, *numbers), max(most, *numbers)
    return {"minimum": least, "maximum": most, "mean": total / rows}
