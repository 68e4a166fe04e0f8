"""What preparing counts, and `statistics.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hanji.data.lengths import Lengths


@dataclass(slots=True)
class SourceCounts:
    """What became of one source's records.

    Attributes:
        row_formats: what its records were.
        read: records found in it.
        skipped: malformed ones.
        empty: those without text.
        duplicates: copies of earlier rows.
        contaminated: held-out rows dropped as near-copies of training rows.
        left_out: training rows not used because the weight is below one.
        repeated: further uses of training rows because the weight is above one.
        rows: split to rows written.
        seconds: time taken to read, convert and write it.
    """

    row_formats: list[str] = field(default_factory=list)
    weight: float = 1.0
    files: int = 0
    read: int = 0
    skipped: int = 0
    empty: int = 0
    duplicates: int = 0
    contaminated: int = 0
    left_out: int = 0
    repeated: int = 0
    characters: int = 0
    bytes: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(slots=True)
class SplitCounts:
    """Lengths of the rows of one split."""

    characters: Lengths = field(default_factory=Lengths)
    bytes: Lengths = field(default_factory=Lengths)


_SUMS = ("read", "skipped", "empty", "duplicates", "contaminated", "left_out", "repeated")


class Counts:
    """Counts by source and by split."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceCounts] = {}
        self.splits: dict[str, SplitCounts] = {}

    def wrote(self, source: str, split: str, characters: int, size: int) -> None:
        """A row was written."""
        of_split = self.splits.setdefault(split, SplitCounts())
        of_split.characters.add(characters)
        of_split.bytes.add(size)
        of_source = self.sources[source]
        of_source.rows[split] = of_source.rows.get(split, 0) + 1
        of_source.characters += characters
        of_source.bytes += size

    def unwrote(self, source: str, split: str, characters: int, size: int) -> None:
        """A row of a source that had been counted is about to be counted anew, or dropped."""
        of_source = self.sources[source]
        of_source.rows[split] -= 1
        of_source.characters -= characters
        of_source.bytes -= size

    def statistics(
        self, kind: str, seed: int, shares: Mapping[str, float], labels: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Everything, as JSON; `labels`: what the rows are labelled with, where they are."""
        sources = {
            name: {key: getattr(counts, key) for key in SourceCounts.__slots__}
            for name, counts in self.sources.items()
        }
        splits = {
            name: {
                "rows": counts.characters.count,
                "characters": counts.characters.summary(),
                "bytes": counts.bytes.summary(),
            }
            for name, counts in self.splits.items()
        }
        return {
            "rows": kind,
            "seed": seed,
            "split": dict(shares),
            **{key: sum(getattr(counts, key) for counts in self.sources.values()) for key in _SUMS},
            **({} if labels is None else {"labels": dict(labels)}),
            "splits": splits,
            "sources": sources,
        }
