"""Docstrings to plain prose: without markup, boilerplate, licences."""

from __future__ import annotations

import re

_ROLE = re.compile(r":(?:py:)?[a-z]+(?::[a-z]+)?:`~?([^`<]*?)(?:\s*<[^`>]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]+>`_+|\[([^\]]+)\]\(([^)]+)\)")
_EMPHASIS = re.compile(r"(?<![\w*])\*{1,2}(\w[^*\n]*?\w|\w)\*{1,2}(?![\w*])")
_DOUBLE = re.compile(r"``([^`]+)``")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'(\[])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|resp|approx|incl|Inc|No|Fig|Eq|al)\.|\b[A-Z]\.)$")
_SIGNATURE = re.compile(
    r"^[\w.]+\([^\n]*\)(?:\s*->[^\n]*)?\s*(?:\n|--|$)|^[\w.]+\(.*?\)\s*->\s*[\w.\[\], ]+\n", re.S
)
_UNFIT = re.compile(
    r">>>|->|::|=>|\|\||==|\*\*\*|---|\.\.\.|[{}|<>\\@#$%^~]|https?:|www\.|TODO|FIXME|XXX|[Dd]eprecated"
    r"|[Cc]opyright|[Ll]icen[sc]e|[Ii]nternal|docstring|self\)|\bsee\b|\bSee\b|following|below|above|N\.B|NOTE"
)
_LICENCE = re.compile(
    r"copyright|\(c\) \d{4}|all rights reserved|licensed under|redistribut|warrant(y|ies)"
    r"|permission is hereby",
    re.I,
)

MIN_SUMMARY_CHARACTERS, MAX_SUMMARY_CHARACTERS = 18, 200


def without_markup(text: str) -> str:
    """reStructuredText and Markdown roles, links and double backticks to what a reader sees."""
    text = _ROLE.sub(lambda match: f"`{match[1].rsplit('.', 1)[-1] if '~' in match[0] else match[1]}`", text)
    text = _LINK.sub(lambda match: match[1] or match[2], text)
    return _DOUBLE.sub(r"`\1`", text)


def without_signature(docstring: str) -> str:
    """A docstring without the signature lines that those of C functions begin with."""
    while match := _SIGNATURE.match(docstring):
        docstring = docstring[match.end() :].lstrip("\n -")
    return docstring


def paragraphs(docstring: str) -> list[str]:
    """Its paragraphs, without licences."""
    found = re.split(r"\n\s*\n", docstring.strip("\n"))
    return [paragraph.rstrip() for paragraph in found if not _LICENCE.search(paragraph)]


def summary(docstring: str) -> str | None:
    """The first sentence, if it is a clean short one that can stand alone as an answer; else None."""
    parts = paragraphs(without_signature(docstring.strip()))
    return sentence(parts[0]) if parts else None


def sentence(paragraph: str) -> str | None:
    """The first sentence of a paragraph, complete, with capital and full stop; None where there is none."""
    text = " ".join(without_markup(paragraph).split())
    pieces = _SENTENCE_END.split(text)
    first = pieces[0] if pieces else ""
    for piece in pieces[1:]:
        if not _ABBREVIATION.search(first):
            break
        first = f"{first} {piece}"
    first = _EMPHASIS.sub(r"\1", first.replace("`.", "`")).strip(" *")
    if not MIN_SUMMARY_CHARACTERS <= len(first) <= MAX_SUMMARY_CHARACTERS or _UNFIT.search(first):
        return None
    if first[-1] in ":;,-(" or not (first[0].isalpha() or first[0] == "`") or len(first.split()) < 3:
        return None
    if first.count("`") % 2 or first.count("(") != first.count(")") or first.count('"') % 2:
        return None
    first_word = first.split()[0]
    if first_word.islower() and not first_word.isalpha():
        return None  # a name of the code, which no capital may change
    letters = sum(character.isalpha() or character == " " for character in first)
    if letters < 0.8 * len(first):
        return None
    first = first[0].upper() + first[1:]
    return first if first[-1] in ".!?" else first + "."


def parameter_meanings(docstring: str) -> dict[str, str]:
    """What a docstring says about each parameter: Google, NumPy and Sphinx styles."""
    found: dict[str, str] = {}
    for pattern in (_SPHINX, _NUMPY, _GOOGLE):
        section = docstring
        if pattern is not _SPHINX:
            head = _SECTION_HEADS[pattern].search(docstring)
            if not head:
                continue
            section = docstring[head.end() :]
            end = _SECTION_END.search(section)
            section = section[: end.start()] if end else section
        for match in pattern.finditer(section):
            meaning = sentence(match["meaning"])
            if meaning and meaning.count(" ") >= 2:
                found.setdefault(match["name"], meaning)
        if found:
            break
    return found


_SPHINX = re.compile(
    r"^:param (?:[\w.\[\], |]+ )?(?P<name>\w+):[ ]*(?P<meaning>[^\n]*(?:\n[ ]+[^\n:]+)*)", re.M
)
_NUMPY = re.compile(r"^(?P<name>[a-z_]\w*) ?:[^\n]*\n(?P<meaning>(?:[ ]+[^\n]+\n?)+)", re.M)
_GOOGLE = re.compile(
    r"^ {2,4}(?P<name>[a-z_]\w*)(?: \([^\n]*?\))?: *(?P<meaning>[^\n]+(?:\n {6,}[^\n]+)*)", re.M
)
_SECTION_HEADS = {
    _NUMPY: re.compile(r"^Parameters\n-+\n", re.M),
    _GOOGLE: re.compile(r"^(?:Args|Arguments|Parameters):\n", re.M),
}
_SECTION_END = re.compile(r"^(?:\w[\w ]*\n-{3,}|[A-Z]\w+:\s*$|\S[^\n]*\n\n)", re.M)
