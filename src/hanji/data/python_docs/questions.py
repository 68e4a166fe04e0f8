"""The source `python-questions`: chats about the installed Python, with answers from its documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from hanji.data.hashing import digest
from hanji.data.python_docs.collection import descriptions, package_modules, standard_modules
from hanji.data.python_docs.prose import parameter_meanings, sentence, summary
from hanji.data.python_docs.symbols import Module, Symbol
from hanji.data.records import Record

MAX_CHARACTERS = 8_000_000
"""Read by default; the standard library comes first."""

_PHRASINGS = {
    "function": (
        "What does `{name}` do?",
        "What is the function `{name}` for?",
        "Explain `{name}` in one sentence.",
        "What does the function `{short}` of the module `{module}` do?",
    ),
    "method": (
        "What does `{name}` do?",
        "What is the method `{name}` for?",
        "Explain the method `{name}` in one sentence.",
    ),
    "class": (
        "What is `{name}`?",
        "What is the class `{name}` for?",
        "Describe the class `{name}` in one sentence.",
    ),
    "module": (
        "What is the module `{name}` for?",
        "What does the module `{name}` do?",
        "Describe the module `{name}` in one sentence.",
    ),
    "package": (
        "What is the package `{name}`?",
        "What is the Python package `{name}` for?",
        "Describe the package `{name}` in one sentence.",
    ),
}
_MAX_PARAMETERS_ASKED = 3
_MAX_PARAMETERS_LISTED = 8
_MAX_EQUAL_ANSWERS = 3

Turn = tuple[str, str]


def read_python_questions(max_characters: int | None) -> Iterator[Record]:
    """Chats of one or two questions, those about the standard library first.

    What a module holds is one group, the same as in `python-docs`: with equal seed and shares, held-out chats
    are about modules whose pages are held out too.
    """
    room = MAX_CHARACTERS if max_characters is None else max_characters
    for line, (group, turns) in enumerate(_chats(), start=1):
        room -= sum(len(question) + len(answer) for question, answer in turns)
        if room < 0:
            return
        messages: list[dict[str, Any]] = []
        for question, answer in turns:
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": answer})
        yield Record({"messages": messages}, "python-questions", line, group)


def _chats() -> Iterator[tuple[str, list[Turn]]]:
    for package in descriptions():
        answer = sentence(package.summary)
        if answer:
            for question in _PHRASINGS["package"]:
                yield f"package {package.name}", [(question.format(name=package.name), answer)]
    modules = (*standard_modules(), *package_modules())
    everything = [(module.symbol.module, symbol) for module in modules for symbol in _public(module)]
    answers = [summary(symbol.docstring) for _, symbol in everything]
    # one sentence under many names was written by a program, and answers nothing
    usual = {answer for answer, count in Counter(answers).items() if count > _MAX_EQUAL_ANSWERS}
    homes = Counter(name for name in {symbol.full_name: _short(symbol) for _, symbol in everything}.values())
    asked: set[str] = set()
    for (group, symbol), answer in zip(everything, answers, strict=True):
        if symbol.full_name not in asked:
            asked.add(symbol.full_name)
            unique = homes[_short(symbol)] == 1
            for turns in _questions(symbol, None if answer in usual else answer, unique=unique):
                yield group, turns


def _public(module: Module) -> Iterable[Symbol]:
    inner = (member for symbol in module.members for member in symbol.members if member.kind == "method")
    return [symbol for symbol in chain([module.symbol], module.members, inner) if symbol.public]


def _short(symbol: Symbol) -> str:
    return symbol.name.rsplit(".", 1)[-1]


def _questions(symbol: Symbol, answer: str | None, *, unique: bool) -> Iterator[list[Turn]]:
    name, short = symbol.full_name, _short(symbol)
    turns: list[Turn] = []
    if answer:
        phrasings = _PHRASINGS[symbol.kind]
        start = digest(name) % len(phrasings)  # another pair of phrasings for each name
        for phrasing in (phrasings[start], phrasings[(start + 1) % len(phrasings)]):
            question = phrasing.format(name=name, short=short, module=symbol.module)
            turns.append((question, answer))
            yield [turns[-1]]
    if symbol.kind == "function" and symbol.parameters is not None:
        taken = _arguments(name, symbol.parameters)
        if taken:
            yield [(f"Which arguments does `{name}` take?", taken)]
            if turns:
                yield [turns[0], ("Which arguments does it take?", taken)]
    if symbol.kind == "class" and symbol.bases:
        base = f"`{name}` is a subclass of {_listed([f'`{base}`' for base in symbol.bases])}."
        yield [(f"Which class does `{name}` inherit from?", base)]
    if symbol.kind in ("function", "class") and symbol.module != "builtins" and unique:
        home = f"`{short}` is a {symbol.kind} of the module `{symbol.module}`."
        yield [(f"Which module is `{short}` in?", home)]
    known = {parameter for parameter, _ in symbol.parameters or []}
    meanings = parameter_meanings(symbol.docstring)
    for parameter in [parameter for parameter in meanings if parameter in known][:_MAX_PARAMETERS_ASKED]:
        yield [(f"What is the parameter `{parameter}` of `{name}`?", meanings[parameter])]


def _arguments(name: str, parameters: list[tuple[str, bool]]) -> str | None:
    if len(parameters) > _MAX_PARAMETERS_LISTED or any(p.startswith("_") for p, _ in parameters):
        return None
    needed = [f"`{parameter}`" for parameter, optional in parameters if not optional]
    spare = [f"`{parameter}`" for parameter, optional in parameters if optional]
    if not parameters:
        return f"`{name}` takes no arguments."
    if not spare:
        return f"`{name}` takes {_listed(needed)}."
    if not needed:
        return f"`{name}` takes, optionally, {_listed(spare)}."
    return f"`{name}` takes {_listed(needed)} and, optionally, {_listed(spare)}."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
