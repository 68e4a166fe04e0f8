"""Rows of prepared data on the terminal: as people read them, and as the model does."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

if TYPE_CHECKING:
    from hanji.contracts.rows import TokenRows

_SHOWN_CHARACTERS: Final = 600
_TOKENISED_ROWS: Final = 1024
"""Rows that are tokenised and packed for a look at them."""
_ROLE_STYLES: Final = {"system": "magenta", "user": "cyan", "assistant": "green"}


def sample_rows(directory: Path, split: str, count: int) -> RenderableType:
    """The first `count` rows of a split."""
    from hanji.data.prepared import read_rows

    parts: list[RenderableType] = [Text(f" First rows of {split}", "bold cyan")]
    for row in islice((row for batch in read_rows(directory, split, count) for row in batch), count):
        parts += [Padding(Rule(f"[dim]{row['id']}[/]", align="left", style="dim"), (0, 0, 0, 3))]
        parts += [Padding(_row(row), (0, 0, 1, 3))]
    return Group(*parts)


def _row(row: dict[str, Any]) -> Text:
    if "text" in row:
        return Text(_short(row["text"]))
    told = Text()
    for message in row["messages"]:
        role = message["role"]
        told.append(f"{role:<10}", _ROLE_STYLES.get(role, "yellow"))
        told.append(_short(str(message.get("content") or "")) + "\n")
    told.rstrip()
    return told


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
    """
    from hanji.data.overlong import RowCounts, fit_rows
    from hanji.data.prepared import read_rows, row_kind
    from hanji.data.show import show_tokens
    from hanji.objectives import OBJECTIVES
    from hanji.tokenizers.tokenizer import Tokenizer

    loaded = Tokenizer.load(tokenizer)
    chats = row_kind(directory) == "chat"
    objective = OBJECTIVES.load("sft" if chats else "clm")()
    rows = next(iter(read_rows(directory, split, _TOKENISED_ROWS)))
    encoded: TokenRows = objective.encode(rows, loaded)
    fitting = fit_rows(encoded, sequence_length, "drop" if chats else "split", RowCounts())
    return show_tokens(fitting, loaded, sequence_length=sequence_length)
