"""The source `python-docs`: a document for each function, class, module, package and article."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from hanji.data.hashing import digest
from hanji.data.python_docs.collection import (
    descriptions,
    package_modules,
    standard_modules,
    topics,
)
from hanji.data.python_docs.prose import paragraphs, without_markup, without_signature
from hanji.data.python_docs.symbols import Module, Symbol
from hanji.data.records import Record

MAX_CHARACTERS = 8_000_000
"""Read by default; the standard library comes first."""

MAX_DESCRIPTION_CHARACTERS = 20_000
_MIN_PAGE_CHARACTERS = 60
_REPEATABLE_CHARACTERS = 40


def read_python_docs(max_characters: int | None) -> Iterator[Record]:
    """Documentation as text, a page for each thing documented; a paragraph that was there before is left out.

    The pages of a module are one group, so that held-out pages are of modules never seen in training.
    """
    room = MAX_CHARACTERS if max_characters is None else max_characters
    seen: set[int] = set()
    for line, (group, title, body) in enumerate(_pages(), start=1):
        fresh = "\n\n".join(_fresh(body, seen))
        page = f"{title}\n\n{fresh}"
        if len(fresh) < _MIN_PAGE_CHARACTERS:
            continue
        room -= len(page)
        if room < 0:
            return
        yield Record(page, "python-docs", line, group)


def _pages() -> Iterator[tuple[str, str, list[str]]]:
    for name, article in topics().items():
        title, _, text = article.partition("\n")
        yield f"topic {name}", title, text.strip("\n* ").split("\n\n")
    for package in descriptions():
        text = package.description[:MAX_DESCRIPTION_CHARACTERS]
        yield f"package {package.name}", f"{package.name}: {package.summary}", text.split("\n\n")
    for module in chain(standard_modules(), package_modules()):
        yield from _module_pages(module)


def _module_pages(module: Module) -> Iterator[tuple[str, str, list[str]]]:
    group = module.symbol.module
    if module.symbol.docstring:
        yield group, f"module {group}", paragraphs(module.symbol.docstring)
    for symbol in module.members:
        if symbol.kind == "class":
            yield group, f"class {symbol.full_name}{_bases(symbol)}", _class_body(symbol)
        else:
            yield group, symbol.full_name + symbol.signature, paragraphs(without_signature(symbol.docstring))


def _class_body(symbol: Symbol) -> list[str]:
    body = paragraphs(symbol.docstring)
    for member in symbol.members:
        parts = paragraphs(without_signature(member.docstring))
        if parts:
            name = f"{symbol.name}.{member.name.rsplit('.', 1)[-1]}"
            parts[0] = f"{name}{member.signature}\n{parts[0]}"
            body += parts
    return body


def _bases(symbol: Symbol) -> str:
    return f"({', '.join(symbol.bases)})" if symbol.bases else ""


def _fresh(body: list[str], seen: set[int]) -> Iterator[str]:
    for paragraph in body:
        text = without_markup(paragraph).rstrip()
        # the same list of arguments stands under hundreds of functions
        essence = " ".join(text.split("\n", 1)[-1].split()) if "(" in text.split("\n", 1)[0] else text
        if len(essence) > _REPEATABLE_CHARACTERS:
            identity = digest(" ".join(essence.split()).encode(errors="replace"))
            if identity in seen:
                continue
            seen.add(identity)
        if text.strip():
            yield text
