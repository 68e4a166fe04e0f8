"""`hanji predict`: what a model makes of a text: what comes next, what is hidden, what it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hanji.cli.console import show
from hanji.cli.loading import Device, Name, load, locate
from hanji.cli.options import RUNS, Runs

if TYPE_CHECKING:
    from rich.table import Table

    from hanji.generation import NextToken

BAR_CHARACTERS = 32


def predict(
    name: Name,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help='What comes before, as "The cat"; "The cat [MASK] on the mat" for encoders; for classifiers '
            "what to label.",
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="SECOND",
            help="A second text: does it follow the first? The other text of a pair; for reward models, the "
            "answer.",
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many tokens to show.")] = 10,
    device: Device = "auto",
    runs: Runs = RUNS,
) -> None:
    """See `cli.app.VERBS`."""
    model, tokenizer = load(name, runs, device)
    from hanji.artifacts.models import head_in
    from hanji.contracts.errors import ConfigError
    from hanji.generation import next_token_probabilities
    from hanji.generation.readings import fill_masks, follows, label_probabilities

    head = head_in(locate(name, runs))
    if head == "classification":
        show(
            labels(
                text,
                second,
                [(p.label, p.value) for p in label_probabilities(model, tokenizer, text, second)],
            )
        )
    elif head == "causal":
        if second is not None:
            raise ConfigError("this model continues one text", value=second, hint="leave the second text out")
        show(table(f"after {_quoted(text)}", next_token_probabilities(model, tokenizer, text, top)))
    elif second is not None:
        probability = follows(model, tokenizer, text, second)
        show(labels(text, second, [("follows", probability), ("does not", 1 - probability)]))
    else:
        for number, tokens in enumerate(fill_masks(model, tokenizer, text, top), start=1):
            show(
                table(
                    f"hidden in {_quoted(text)}" + (f", place {number}" if text.count("[MASK]") > 1 else ""),
                    tokens,
                )
            )


def table(title: str, tokens: list[NextToken]) -> Table:
    """A row for each token: its text in quotes, its probability as a number and as a bar, its id."""
    from rich.markup import escape

    drawn = _table(title, "token")
    drawn.add_column("id", justify="right", style="dim")
    longest = max(token.probability for token in tokens)
    for token in tokens:
        quoted = escape(_quoted(token.text))
        drawn.add_row(quoted, f"{token.probability:.2%}", bar(token.probability / longest), str(token.id))
    rest = 1 - sum(token.probability for token in tokens)
    if rest > 0.00005:
        drawn.add_row("[dim]all others[/]", f"[dim]{rest:.2%}[/]")
    return drawn


def labels(text: str, second: str | None, found: Sequence[tuple[str, float]]) -> Table:
    """A row for each label with its probability; a single number as it is."""
    from rich.markup import escape

    title = _quoted(text) + (f" · {_quoted(second)}" if second is not None else "")
    drawn = _table(title, "label")
    for label, value in found:
        if len(found) == 1:
            drawn.add_row(escape(label), f"{value:.3f}", "")
        else:
            drawn.add_row(escape(label), f"{value:.2%}", bar(value))
    return drawn


def _table(title: str, first: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(
        title=escape(title),
        title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), header_style="dim",
    )  # fmt: skip
    drawn.add_column(first)
    drawn.add_column("probability", justify="right")
    drawn.add_column("", style="cyan", width=BAR_CHARACTERS)
    return drawn


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def bar(share: float) -> str:
    """`share` of BAR_CHARACTERS in blocks, to an eighth of a character."""
    whole, eighths = divmod(round(share * BAR_CHARACTERS * 8), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[eighths].strip()
