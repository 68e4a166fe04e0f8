"""Texts, or pairs of texts, with a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from hanji.data.cleaning import Cleaning
from hanji.data.kinds.row import as_json
from hanji.data.labels import Label, Whole


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """What a classifier is asked, and the answer."""

    kind: ClassVar[str] = "labelled"
    plural: ClassVar[str] = "labelled rows"

    text: str
    text_pair: str | None
    label: Label

    @property
    def empty(self) -> bool:
        """Whether a text has no visible character."""
        return not self.text.strip() or (self.text_pair is not None and not self.text_pair.strip())

    def cleaned(self, clean: Cleaning) -> LabelledRow:
        """The row with its texts cleaned; names of classes are unified as they are read."""
        pair = None if self.text_pair is None else clean(self.text_pair)
        return LabelledRow(clean(self.text), pair, self.label)

    def content(self) -> str:
        """Texts and label."""
        return as_json([self.text, self.text_pair, _plain(self.label)])

    def split_key(self) -> str:
        """The first text: rows of one premise or one question stay together, whatever else they say."""
        return self.text

    def values(self) -> dict[str, Any]:
        """Its columns; a whole number stands as the name of a class."""
        return {"text": self.text, "text_pair": self.text_pair, "label": _plain(self.label)}


def _plain(label: Label) -> str | list[str] | float:
    if isinstance(label, Whole):
        return label.text
    return list(label) if isinstance(label, tuple) else label
