"""What a report is made of, whatever it is written as: sections of blocks, in English and Korean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from hanji.evaluation.report.drawing import Drawing


class Both(NamedTuple):
    """The same words in English and Korean."""

    en: str
    ko: str


Words = Both | str
"""A plain string reads the same in both languages: a name, a number."""


@dataclass(frozen=True, slots=True)
class Card:
    """One headline number."""

    label: Words
    value: Words
    note: Words = ""


@dataclass(frozen=True, slots=True)
class Cards:
    """Headline numbers, side by side."""

    cards: Sequence[Card]
    block: ClassVar[str] = "cards"


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A few sentences."""

    text: Words
    block: ClassVar[str] = "paragraph"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first column names the row, the others hold numbers."""

    columns: Sequence[Words]
    rows: Sequence[Sequence[Words]]
    block: ClassVar[str] = "table"


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its title; `name` is its file's, without the ending."""

    name: str
    title: Words
    drawing: Drawing


@dataclass(frozen=True, slots=True)
class Charts:
    """Drawings, side by side where there is room."""

    charts: Sequence[Chart]
    title: Words = ""
    block: ClassVar[str] = "charts"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model said, and whether it ended by itself."""

    text: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Samples:
    """The same prompts to several models: for each prompt the answer of each model."""

    models: Sequence[str]
    rows: Sequence[tuple[str, Mapping[str, Answer]]]
    block: ClassVar[str] = "samples"


@dataclass(frozen=True, slots=True)
class Diagram:
    """A wide drawing, and the same as text for where there are no drawings."""

    chart: Chart
    text: str
    block: ClassVar[str] = "diagram"


@dataclass(frozen=True, slots=True)
class Listing:
    """Text to unfold, as it is."""

    title: Words
    text: str
    block: ClassVar[str] = "listing"


Block = Cards | Paragraph | Table | Charts | Samples | Diagram | Listing


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what belongs to it. `key` is its anchor."""

    key: str
    title: Both
    blocks: Sequence[Block] = field(default_factory=list)
