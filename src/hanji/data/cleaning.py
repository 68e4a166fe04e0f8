"""What is done to the text of a row before anything else sees it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

# C0 and C1 without tab and newline, the byte order mark, and what overrides the direction of text
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BLANKS = re.compile(r"[^\S\n]+")
_AROUND_NEWLINE = re.compile(r" ?\n ?")
_NEWLINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Cleaning:
    """How text is cleaned.

    Attributes:
        unicode: normalisation (Unicode Standard Annex 15); `nfkc` also unifies widths and ligatures.
        control_characters: `remove` drops invisible ones other than tab and newline; every line end becomes
            a newline. Joiners and spaces of no width stay: scripts and emoji need them.
        whitespace: `collapse` makes runs of blanks one space, and more than two newlines two.
    """

    unicode: Literal["nfc", "nfkc", "none"] = "nfc"
    control_characters: Literal["remove", "keep"] = "remove"
    whitespace: Literal["keep", "collapse"] = "keep"

    def __call__(self, text: str) -> str:
        """The cleaned text; cleaning it again changes nothing."""
        if self.control_characters == "remove":
            text = _CONTROLS.sub("", _LINE_ENDS.sub("\n", text))
        if self.unicode == "nfc":
            text = unicodedata.normalize("NFC", text)
        elif self.unicode == "nfkc":
            text = unicodedata.normalize("NFKC", text)
        if self.whitespace == "collapse":
            text = _NEWLINES.sub("\n\n", _AROUND_NEWLINE.sub("\n", _BLANKS.sub(" ", text))).strip()
        return text
