"""`hanji predict`: what a model expects after a text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from hanji.cli.console import show
from hanji.cli.loading import Device, Name, load
from hanji.cli.options import RUNS, Runs

if TYPE_CHECKING:
    from rich.table import Table

    from hanji.generation import NextToken

BAR_CHARACTERS = 32


def predict(
    name: Name,
    text: Annotated[str, typer.Argument(metavar="TEXT", help='What comes before, as "The cat".')],
    top: Annotated[int, typer.Option("--top", min=1, help="How many tokens to show.")] = 10,
    device: Device = "auto",
    runs: Runs = RUNS,
) -> None:
    """See `cli.app.VERBS`."""
    model, tokenizer = load(name, runs, device)
    from hanji.generation import next_token_probabilities

    show(table(text, next_token_probabilities(model, tokenizer, text, top)))


def table(text: str, tokens: list[NextToken]) -> Table:
    """A row for each token: its text in quotes, its probability as a number and as a bar, its id."""
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(
        title=f"after {escape(json.dumps(text, ensure_ascii=False))}",
        title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), header_style="dim",
    )  # fmt: skip
    drawn.add_column("next token")
    drawn.add_column("probability", justify="right")
    drawn.add_column("", style="cyan", width=BAR_CHARACTERS)
    drawn.add_column("id", justify="right", style="dim")
    longest = max(token.probability for token in tokens)
    for token in tokens:
        quoted = escape(json.dumps(token.text, ensure_ascii=False))
        drawn.add_row(quoted, f"{token.probability:.2%}", bar(token.probability / longest), str(token.id))
    rest = 1 - sum(token.probability for token in tokens)
    if rest > 0.00005:
        drawn.add_row("[dim]all others[/]", f"[dim]{rest:.2%}[/]")
    return drawn


def bar(share: float) -> str:
    """`share` of BAR_CHARACTERS in blocks, to an eighth of a character."""
    whole, eighths = divmod(round(share * BAR_CHARACTERS * 8), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[eighths].strip()
