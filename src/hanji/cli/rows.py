"""Rows of prepared data on the terminal: as people read them, and as the model does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from hanji.contracts.rows import TokenRows

_SHOWN_CHARACTERS: Final = 600
_TOKENISED_ROWS: Final = 1024
"""Rows that are tokenised and packed for a look at them."""
_OBJECTIVES: Final = {"text": "clm", "chat": "sft"}
"""By kind of row: whose tokens are shown."""
_ROLE_STYLES: Final = {"system": "magenta", "user": "cyan", "assistant": "green"}


def sample_rows(directory: Path, split: str, count: int) -> RenderableType:
    """The first `count` rows of a split."""
    from hanji.data.prepared import read_rows

    parts: list[RenderableType] = [Text(f" First rows of {split}", "bold cyan")]
    for row in islice((row for batch in read_rows(directory, split, count) for row in batch), count):
        parts += [Padding(Rule(f"[dim]{row['id']}[/]", align="left", style="dim"), (0, 0, 0, 3))]
        parts += [Padding(_row(row), (0, 0, 1, 3))]
    return Group(*parts)


def _row(row: dict[str, Any]) -> RenderableType:
    if "label" in row:
        return _lines(_labelled(row))
    if "chosen" in row:
        return _lines(_preference(row))
    return _lines(_said(row["messages"])) if "messages" in row else Text(_short(row["text"]))


def _lines(lines: Iterable[tuple[str, str, str]]) -> RenderableType:
    """Lines of a name, its style, and text that is wrapped beside it."""
    table = Table.grid(padding=(0, 1))
    table.add_column(min_width=9, no_wrap=True)
    table.add_column(overflow="fold")
    for name, style, text in lines:
        table.add_row(Text(name, style), Text(text))
    return table


def _labelled(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "text", "cyan", _short(row["text"])
    if row["text_pair"] is not None:
        yield "text_pair", "cyan", _short(row["text_pair"])
    label = row["label"]
    named = " · ".join(label) or "none" if isinstance(label, list) else str(label)
    yield "label", "bold green", named


def _preference(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield from _said(row["messages"])
    for name, style in (("chosen", "green"), ("rejected", "red")):
        for number, message in enumerate(row[name]):
            yield message["role"] if number else name, style, _content(message)
    if row["margin"] is not None:
        yield "margin", "dim", f"{row['margin']:g}"


def _said(messages: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for message in messages:
        yield message["role"], _ROLE_STYLES.get(message["role"], "yellow"), _content(message)


def _content(message: dict[str, Any]) -> str:
    functions = [call["function"] for call in message.get("tool_calls") or ()]
    calls = [
        f"→ {function['name']} {json.dumps(function['arguments'], ensure_ascii=False)}"
        for function in functions
    ]
    return _short("\n".join([message["content"], *calls] if message["content"] else calls))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + " …"


def packed_rows(directory: Path, split: str, tokenizer: str, sequence_length: int) -> RenderableType:
    """Packed sequences of a split, token by token, with what is learned.

    Args:
        directory: prepared data.
        split: whose rows.
        tokenizer: where it is loaded from.
        sequence_length: what rows are packed to; longer ones are split (texts) or left out (chats), as in
            training by default.

    Raises:
        ConfigError: the rows are labelled or preferences, whose tokens depend on more than a tokenizer.
    """
    from hanji.contracts.errors import ConfigError
    from hanji.data.overlong import RowCounts, fit_rows
    from hanji.data.prepared import read_rows, row_kind
    from hanji.data.show import show_tokens
    from hanji.objectives import OBJECTIVES
    from hanji.tokenizers.tokenizer import Tokenizer

    kind = row_kind(directory)
    if kind not in _OBJECTIVES:
        raise ConfigError(
            "--tokens shows texts and chats only",
            where=str(directory),
            value=kind,
            expected=", ".join(_OBJECTIVES),
            hint="without --tokens, rows are shown as people read them",
        )
    loaded = Tokenizer.load(tokenizer)
    objective = OBJECTIVES.load(_OBJECTIVES[kind])()
    rows = next(iter(read_rows(directory, split, _TOKENISED_ROWS)))
    encoded: TokenRows = objective.encode(rows, loaded)
    fitting = fit_rows(encoded, sequence_length, "drop" if kind == "chat" else "split", RowCounts())
    return show_tokens(fitting, loaded, sequence_length=sequence_length)
