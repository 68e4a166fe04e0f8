"""Reading a prepared data directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hanji.contracts.errors import DataError
from hanji.data.shards import from_stored, read_shards, shard_paths


def statistics(directory: Path) -> dict[str, Any]:
    """What `prepare` counted.

    Raises:
        DataError: this is no prepared data.
    """
    try:
        found: dict[str, Any] = json.loads((directory / "statistics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            "this is not prepared data",
            where=str(directory),
            value=str(error),
            expected="a directory that a prepare stage made, with statistics.json",
        ) from None
    return found


def row_kind(directory: Path) -> str:
    """`text`, `chat`, `labelled` or `preference`."""
    return str(statistics(directory)["rows"])


def labels(directory: Path) -> dict[str, Any]:
    """What the rows are labelled with.

    Returns:
        `kind`: classes, several or number; `counts`: the training rows of each class, in a fixed order (0
        where only held-out rows have it); or, of numbers, their `minimum`, `maximum` and `mean`.

    Raises:
        DataError: this is no prepared data, or its rows have no labels.
    """
    counted = statistics(directory)
    if "labels" not in counted:
        raise DataError(
            "these rows have no labels",
            where=str(directory),
            value=counted["rows"],
            expected="labelled rows",
            hint="prepare a source whose records have a text and a label, or say the `label` of the source",
        )
    found: dict[str, Any] = counted["labels"]
    return found


def splits(directory: Path) -> dict[str, int]:
    """Rows of each split that has any."""
    names = sorted({path.name.rsplit("-", 1)[0] for path in directory.glob("*-[0-9]*.parquet")})
    counts = {
        name: sum(pq.read_metadata(path).num_rows for path in shard_paths(directory, name)) for name in names
    }
    return {name: count for name, count in counts.items() if count}


def read_rows(directory: Path, split: str, batch_rows: int = 1024) -> Iterator[list[dict[str, Any]]]:
    """The rows of a split in batches, in the order in which they were prepared.

    Every row has `source` and `id`, and by kind:

    - text: `text`;
    - chat: `messages` (list), `tools` (list or None);
    - labelled: `text`, `text_pair` (or None), `label` (a name, a list of names, or a number);
    - preference: `messages`, the prompt, and its answers `chosen` and `rejected` (lists), `tools` (list or
      None), `margin` (number or None).

    Raises:
        DataError: there is no such split.
    """
    paths = shard_paths(directory, split)
    if not paths:
        raise DataError(
            "no such split in this data",
            where=str(directory),
            value=split,
            expected=", ".join(splits(directory)) or "prepared data",
        )
    for batch in read_shards(paths, batch_rows):
        yield [from_stored(row) for row in batch]
