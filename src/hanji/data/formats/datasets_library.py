"""Data sets of the `datasets` library: directories it saved, and ids on the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hanji.contracts.errors import DataError
from hanji.contracts.hub import offline_if_unreachable
from hanji.data.records import Record

_BATCH_ROWS = 1024


def is_saved_dataset(path: str) -> bool:
    """Whether `path` is a directory that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    directory = Path(path)
    return (directory / "dataset_dict.json").is_file() or (
        (directory / "state.json").is_file() and (directory / "dataset_info.json").is_file()
    )


def read_saved_dataset(path: str, split: str | None) -> Iterator[Record]:
    """The rows of a saved data set, memory-mapped.

    Raises:
        DataError: the directory was not written by `save_to_disk`, or has no such split.
    """
    import datasets

    if not is_saved_dataset(path):
        raise DataError(
            "this is not a saved data set", where=path, expected="a directory that `save_to_disk` wrote"
        )
    loaded = datasets.load_from_disk(path)
    dataset = _one_split(loaded, split, path)
    row = 0
    for start in range(0, len(dataset), _BATCH_ROWS):
        columns = dataset[start : start + _BATCH_ROWS]
        for values in zip(*columns.values(), strict=True):
            row += 1
            yield Record(dict(zip(columns, values, strict=True)), path, row)


def read_hub_dataset(path: str, subset: str | None, split: str | None) -> Iterator[Record]:
    """The rows of a hub data set, streamed: nothing is downloaded beyond what is read.

    Raises:
        DataError: the hub cannot be reached, or has no such data set, subset or split.
    """
    offline_if_unreachable()
    import datasets

    try:
        loaded = datasets.load_dataset(path, subset, streaming=True)
        dataset = _one_split(loaded, split, path)
        rows = iter(dataset)
        first = next(rows, None)
    except (ValueError, OSError, RuntimeError) as error:
        raise DataError(
            "the data set cannot be loaded from the hub",
            where=path,
            value=str(error),
            expected="an id as `owner/name`, and for a private one a token in HF_TOKEN",
            hint="if you mean a file on this machine: it is not there",
        ) from error
    row = 0
    while first is not None:
        row += 1
        yield Record(dict(first), path, row)
        first = next(rows, None)


def _one_split(loaded: Any, split: str | None, path: str) -> Any:
    if not isinstance(loaded, Mapping):
        if split is not None:
            raise DataError("this data set has no splits", where=path, value=split)
        return loaded
    wanted = split or ("train" if "train" in loaded else next(iter(loaded)) if len(loaded) == 1 else None)
    if wanted not in loaded:
        raise DataError(
            "the data set has no such split"
            if split
            else "the data set has several splits, none called train",
            where=path,
            value=split,
            expected=", ".join(loaded),
            hint="set the source's `split`",
        )
    return loaded[wanted]
