"""What is written to the terminal: colours where there is one, plain lines in a log, errors as panels."""

from __future__ import annotations

import sys
import traceback
from functools import cache
from typing import TYPE_CHECKING

from hanji.contracts.errors import HanjiError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

LOG_WIDTH = 120
_SIGNALLED = 128
"""Exit codes above are those of commands that a signal ended."""


@cache
def output() -> Console:
    """Standard output; as wide as the terminal, or LOG_WIDTH where it is a file or a pipe."""
    return _console(stderr=False)


@cache
def messages() -> Console:
    """Standard error: progress, notes, errors; so that standard output holds results alone."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, width=None if terminal else LOG_WIDTH)


def show(renderable: RenderableType) -> None:
    """Prints to standard output."""
    output().print(renderable)


def show_error(error: HanjiError) -> None:
    """The error with its parts: a panel on a terminal, `str(error)` in a log."""
    console = messages()
    title, colour = ("stopped", "yellow") if error.exit_code > _SIGNALLED else ("error", "red")
    if not console.is_terminal:
        print(f"{title}: {error}", file=sys.stderr)
        return
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    parts = Table.grid(padding=(0, 2))
    parts.add_column(style="dim", justify="right", no_wrap=True)
    parts.add_column(overflow="fold")
    named = (("where", error.where), ("value", error.value), ("expected", error.expected), ("do", error.hint))
    for name, text in named:
        if text:
            parts.add_row(name, Text(text, style="bold green" if name == "do" else ""))
    body = Table.grid()
    body.add_row(Text(error.problem, style="bold"))
    if parts.row_count:
        body.add_row("")
        body.add_row(parts)
    heading = Text(f" {title} ", f"bold {colour}")
    console.print(Panel.fit(body, border_style=colour, title=heading, title_align="left", padding=(0, 1)))


def show_unexpected(error: Exception) -> None:
    """A mistake of ours, in one line; the traceback is a flag away."""
    what = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    print(f"error: {what}\n  this is a fault of hanji; run with --debug to see where", file=sys.stderr)
