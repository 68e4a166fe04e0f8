"""Texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from hanji.data.cleaning import Cleaning


@dataclass(frozen=True, slots=True)
class TextRow:
    """A text."""

    kind: ClassVar[str] = "text"
    plural: ClassVar[str] = "texts"

    text: str

    @property
    def empty(self) -> bool:
        """Whether it has no visible character."""
        return not self.text.strip()

    def cleaned(self, clean: Cleaning) -> TextRow:
        """The row with its text cleaned."""
        return TextRow(clean(self.text))

    def content(self) -> str:
        """The text."""
        return self.text

    def split_key(self) -> str:
        """The text."""
        return self.text

    def values(self) -> dict[str, Any]:
        """Its column."""
        return {"text": self.text}
