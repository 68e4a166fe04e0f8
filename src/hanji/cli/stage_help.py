"""`hanji VERB --help` for the verbs that make something: their keys, from the schema.

Written by hand: importing rich and laying out its tables would take as long as all the rest.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import zip_longest
from typing import Final

import typer

from hanji.cli.console import LOG_WIDTH
from hanji.recipes.fields import Mix, Source, Trial
from hanji.recipes.reference import Key, first_line, keys_of
from hanji.recipes.schema import STAGES

EXAMPLES = {
    "prepare": "hanji prepare source=my.jsonl deduplicate=exact name=my-data",
    "tokenizer": "hanji tokenizer data=my-data vocab_size=8192 name=my-tokenizer",
    "pretrain": "hanji pretrain data=my-data tokenizer=my-tokenizer model=llama-micro train.tokens=2_000_000",
    "finetune": "hanji finetune model=HuggingFaceTB/SmolLM2-135M data=my.jsonl train.epochs=2 name=my-chat",
    "evaluate": "hanji evaluate models=[my-base,my-chat] prompts='[Who are you?]'",
    "compare": "hanji compare model=my-base data=reviews.csv objective=classify methods=[full,lora]",
}
RECIPES = {"compare": "hanji compare RECIPE [STAGE.KEY=VALUE ...] [--stage STAGE] [--force] [--runs DIR]"}
"""Verbs that take a recipe, too."""
OPTIONS = {"pretrain": "objectives", **dict.fromkeys(("finetune", "compare"), "objectives and methods")}
"""Verbs that train, and what of theirs has options. These are told elsewhere: to read them takes torch."""

Style = Callable[[str], str]
_PLAIN: Final[Style] = str
_BOLD: Final[Style] = partial(typer.style, bold=True)
_DIM: Final[Style] = partial(typer.style, dim=True)
_TYPE: Final[Style] = partial(typer.style, fg="yellow")
_REQUIRED: Final[Style] = partial(typer.style, fg="red")

_KEYS_WIDTH: Final = 26
_ONE_LINE: Final = 70
_NARROWEST: Final = 20
"""Characters: of the column of keys at least; of what is told in one line at most; of its column at least."""


def show_stage_help(kind: str) -> None:
    """Prints the keys of a stage with their values, defaults and meanings."""
    stage = STAGES[kind]
    keys = [key for key in keys_of(stage) if key.path != "kind"]
    plain = [key for key in keys if "." not in key.path]
    nested: dict[str, list[Key]] = {}
    for key in keys:
        if "." in key.path:
            nested.setdefault(key.path.partition(".")[0], []).append(key)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else LOG_WIDTH
    lines = [
        f"\n {_BOLD('Usage')}  hanji {kind} KEY=VALUE ... [--force] [--runs DIR]\n",
        *([f" {_BOLD('or')}     {RECIPES[kind]}\n"] if kind in RECIPES else []),
        *(f" {line}" for line in _fill([(first_line(stage), _PLAIN)], width - 2)),
        _DIM(f"\n Example  {EXAMPLES[kind]}"),
        *_section("Keys", plain, width),
    ]
    for name, inner in nested.items():
        lines += _section(name, inner, width)
    if kind == "prepare":
        lines += _section("Each item of source, as a mapping", keys_of(Source), width)
    if kind == "compare":
        lines += _section("Each item of methods, as a mapping", keys_of(Trial), width)
    if kind in OPTIONS:
        lines += _section("Each item of data, as a mapping", keys_of(Mix), width)
        lines += _section(f"Options of {OPTIONS[kind]}", _WHERE_OPTIONS, width)
    options = [*_OPTIONS[:1], *([_STAGE] if kind in RECIPES else []), *_OPTIONS[1:]]
    lines += [*_section("Shared", _SHARED, width), *_section("Options", options, width), ""]
    typer.echo("\n".join(lines), color=False if os.environ.get("NO_COLOR") else None)


_SHARED = [
    Key("name", "text", "the verb", "The artifact is runs/VERB/NAME; later stages call it NAME."),
    Key("seed", "whole number ≥ 0", "0", "Where all randomness comes from."),
    Key("device", "auto | cpu | cuda | mps", "auto", "Where tensors live."),
]
_WHERE_OPTIONS = [
    Key("as a mapping", "", "", "{name: NAME, OPTION: VALUE, ...} in the place of NAME."),
    Key("which there are", "", "", "docs/reference/recipe.md, or: python -m hanji.recipes.reference"),
]
_STAGE = Key(
    "--stage STAGE",
    "",
    "the last",
    "Of a recipe: which comparison; or which finetune stage, on whose task every method is tried.",
)
_OPTIONS = [
    Key("--force", "", "", "Make it anew, up to date or not."),
    Key("--runs DIR", "", "runs", "Directory of all artifacts (environment variable HANJI_RUNS)."),
    Key("--debug", "", "", "Show the traceback of an error."),
]


def _section(title: str, keys: Iterable[Key], width: int) -> Iterator[str]:
    """A heading, and two columns: the keys, and what is told about them."""
    keys = list(keys)
    column = max(_KEYS_WIDTH, *(len(key.path) for key in keys))
    yield "\n " + typer.style(title, fg="cyan", bold=True)
    room = max(width - column - 5, _NARROWEST)
    for key in keys:
        details = _details(key)
        both = len(key.description) + 1 + sum(len(text) + 1 for text, _ in details)
        told, more = _fill([(key.description, _PLAIN)], room), _fill(details, room)
        if both <= room and len(key.description) + len(key.type) <= _ONE_LINE:
            told = ["  ".join([*told, *more])]
        else:
            told += more
        for name, line in zip_longest([key.path], told, fillvalue=""):
            yield f"   {_BOLD(name.ljust(column)) if name else ' ' * column}  {line}"


def _details(key: Key) -> list[tuple[str, Style]]:
    """What may stand there, and what does by default; with dots between."""
    found = [(key.type, _TYPE)] if key.type else []
    if key.default is None:
        found.append(("required", _REQUIRED))
    elif key.default not in ("", "–"):
        found.append((f"default {key.default}", _DIM))
    dots = [("·", _PLAIN)] * len(found)
    return [span for pair in zip(dots, found, strict=True) for span in pair][1:]


def _fill(spans: Iterable[tuple[str, Style]], width: int) -> list[str]:
    """Words in lines of at most `width` characters; a longer word has a line of its own."""
    lines: list[str] = []
    room = 0
    for text, style in spans:
        for word in text.split():
            if lines and len(word) < room:
                lines[-1] += f" {style(word)}"
                room -= 1 + len(word)
            else:
                lines.append(style(word))
                room = width - len(word)
    return lines
