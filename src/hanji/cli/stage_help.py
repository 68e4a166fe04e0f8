"""`hanji VERB --help` for the verbs that make something: their keys, from the schema."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hanji.cli.console import output
from hanji.recipes.fields import Mix, Source
from hanji.recipes.reference import Key, first_line, keys_of
from hanji.recipes.schema import STAGES

EXAMPLES = {
    "prepare": "hanji prepare source=my.jsonl deduplicate=exact name=my-data",
    "tokenizer": "hanji tokenizer data=my-data vocab_size=8192 name=my-tokenizer",
    "pretrain": "hanji pretrain data=my-data tokenizer=my-tokenizer model=llama-micro train.tokens=2_000_000",
    "finetune": "hanji finetune model=HuggingFaceTB/SmolLM2-135M data=my.jsonl train.epochs=2 name=my-chat",
    "evaluate": "hanji evaluate models=[my-base,my-chat] prompts='[Who are you?]'",
}


def show_stage_help(kind: str) -> None:
    """Prints the keys of a stage with their values, defaults and meanings."""
    stage = STAGES[kind]
    keys = [key for key in keys_of(stage) if key.path != "kind"]
    plain = [key for key in keys if "." not in key.path]
    nested: dict[str, list[Key]] = {}
    for key in keys:
        if "." in key.path:
            nested.setdefault(key.path.partition(".")[0], []).append(key)
    parts: list[RenderableType] = [
        Text.assemble("\n ", ("Usage", "bold"), f"  hanji {kind} KEY=VALUE ... [--force] [--runs DIR]\n"),
        Padding(first_line(stage), (0, 1)),
        Text.assemble("\n ", (f"Example  {EXAMPLES[kind]}", "dim"), overflow="fold"),
        _section("Keys", plain),
        *(_section(name, inner) for name, inner in nested.items()),
    ]
    if kind == "prepare":
        parts.append(_section("Each item of source, as a mapping", keys_of(Source)))
    if kind in ("pretrain", "finetune"):
        parts.append(_section("Each item of data, as a mapping", keys_of(Mix)))
    parts += [_section("Shared", _SHARED), _section("Options", _OPTIONS), Text("")]
    output().print(Group(*parts))


_SHARED = [
    Key("name", "text", "the verb", "The artifact is runs/VERB/NAME; later stages call it NAME."),
    Key("seed", "whole number ≥ 0", "0", "Where all randomness comes from."),
    Key("device", "auto | cpu | cuda | mps", "auto", "Where tensors live."),
]
_OPTIONS = [
    Key("--force", "", "", "Make it anew, up to date or not."),
    Key("--runs DIR", "", "runs", "Directory of all artifacts (environment variable HANJI_RUNS)."),
    Key("--debug", "", "", "Show the traceback of an error."),
]


def _section(title: str, keys: Iterable[Key]) -> RenderableType:
    table = Table(box=None, padding=(0, 1), show_header=False, expand=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold", min_width=26)
    table.add_column(overflow="fold")
    for key in keys:
        told = Text(key.description)
        details = [(key.type, "yellow")] if key.type else []
        if key.default is None:
            details.append(("required", "red"))
        elif key.default not in ("", "–"):
            details.append((f"default {key.default}", "dim"))
        if details:
            told.append("\n" if len(key.description) + len(key.type) > 70 else "  ")
            told.append(Text(" · ").join(Text(text, style) for text, style in details))
        table.add_row(key.path, told)
    return Group(Text(f"\n {title}", "bold cyan"), Padding(table, (0, 0, 0, 3)))
