"""Where sentences end, in Korean and in English."""

from __future__ import annotations

import re
from typing import Final

_CLOSING: Final = r"[\"'”’」』）)\]】》]"
_END: Final = re.compile(
    rf"(?<=[.!?。！？…]){_CLOSING}*\s+"  # an end and a blank
    rf"|(?<=[。！？]){_CLOSING}*+(?=[^\s。！？])"  # full-width ends need no blank
    r"|\n\s*"  # a line is never more than a sentence goes on for
)
_ABBREVIATIONS: Final = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "cf", "al", "fig", "no", "vol", "pp"}
)
_INITIALS: Final = re.compile(r"[A-Z]|([A-Za-z]\.)+[A-Za-z]")
"""Of a name, or of words: `J`, `J.R.R`, `U.S`, `e.g`, `p.m`."""
_LONGEST_WORD: Final = 32
"""Characters before a full stop that are looked at: none of these words is longer."""


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, without the blanks between them; nothing else is lost.

    A sentence ends with `.`, `!`, `?`, their full-width kin or an ellipsis before a blank, and with a line.
    Korean sentences end like that too (`-다.`, `-요.`), so that one rule serves both. A full stop after an
    abbreviation, initials or a number that a list begins with ends nothing,
    unless a quotation or a bracket ends there too.
    """
    sentences, start = [], 0
    for match in _END.finditer(text):
        only_blanks = not match.group().strip() and "\n" not in match.group()
        if only_blanks and _goes_on(text, start, match.start()):
            continue
        if sentence := text[start : match.end()].strip():
            sentences.append(sentence)
        start = match.end()
    if rest := text[start:].strip():
        sentences.append(rest)
    return sentences


def _goes_on(text: str, start: int, end: int) -> bool:
    """Whether the sentence that began at `start` goes on after `end`, where it seems to end."""
    if text[end - 1] != ".":
        return False
    words = text[max(start, end - _LONGEST_WORD) : end - 1].split()
    last = words[-1].lstrip("(\"'“‘[") if words else ""
    begins_a_list = len(words) == 1 and end - start < _LONGEST_WORD and last.isdigit()
    return last.lower() in _ABBREVIATIONS or _INITIALS.fullmatch(last) is not None or begins_a_list
