"""Where sentences end, in Korean and in English."""

from __future__ import annotations

import re
from typing import Final

_END: Final = re.compile(
    r"(?<=[.!?。！？…])[\"'”’」』)\]]*\s+"  # an end and a blank
    r"|(?<=[。！？])(?=\S)"  # full-width ends need no blank
    r"|\s*\n\s*"  # a line is never more than a sentence goes on for
)
_ABBREVIATIONS: Final = frozenset(
    {
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "jr",
        "sr",
        "vs",
        "etc",
        "e.g",
        "i.e",
        "cf",
        "al",
        "fig",
        "no",
        "vol",
        "pp",
    }
)


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, without the blanks between them; nothing else is lost.

    A sentence ends with `.`, `!`, `?`, their full-width kin or an ellipsis before a blank, and with a line.
    Korean sentences end like that too (`-다.`, `-요.`), so that one rule serves both. A full stop after an
    abbreviation, an initial or a number that a list begins with ends nothing.
    """
    sentences, start = [], 0
    for match in _END.finditer(text):
        end = match.start() if "\n" in match.group() else match.end()
        if "\n" not in match.group() and _goes_on(text[start : match.start()]):
            continue
        if sentence := text[start:end].strip():
            sentences.append(sentence)
        start = match.end()
    if rest := text[start:].strip():
        sentences.append(rest)
    return sentences


def _goes_on(sentence: str) -> bool:
    """Whether a sentence that ends here goes on all the same."""
    if not sentence.endswith("."):
        return False
    words = sentence[:-1].split()
    last = words[-1].lstrip("(\"'“‘[") if words else ""
    is_initial = len(last) == 1 and last.isalpha() and last.isascii() and last.isupper()
    begins_a_list = len(words) == 1 and last.isdigit()
    return last.lower() in _ABBREVIATIONS or is_initial or begins_a_list
