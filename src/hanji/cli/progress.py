"""Progress of a run, for whoever watches: bars on a terminal, a line now and then in a log."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from hanji.artifacts.artifact import Artifact
from hanji.cli import figures

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

LOG_SECONDS = 10.0
"""In a log, a phase tells of itself at most this often, and at its end."""


@dataclass(slots=True)
class Pace:
    """How fast a phase goes: what remains at the pace since it was first seen."""

    first: float
    began: float = field(default_factory=lambda: time.monotonic())

    def remaining(self, done: float, total: float | None) -> float | None:
        """Seconds to the end; None while it cannot be known."""
        gone = done - self.first
        if total is None or gone <= 0:
            return None
        return (time.monotonic() - self.began) * max(total - done, 0) / gone


class LogProgress:
    """Plain lines: what a log file or a pipe gets."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._paces: dict[str, Pace] = {}
        self._said: dict[str, float] = {}

    def advance(self, phase: str, done: float, total: float | None = None, **shown: float) -> None:
        """See `contracts.progress`."""
        now = time.monotonic()
        pace = self._paces.setdefault(phase, Pace(done))
        finished = total is not None and done >= total
        if not finished and now - self._said.setdefault(phase, pace.began) < LOG_SECONDS:
            return
        self._said[phase] = now
        parts = [f"{phase} {_done(done, total)}", *(figures.figure(*pair) for pair in shown.items())]
        left = pace.remaining(done, total)
        if finished:
            self._forget(phase)
        elif left is not None:
            parts.append(f"{figures.seconds(left)} left")
        self._print(f"  {' · '.join(parts)}")

    def _forget(self, phase: str) -> None:
        self._paces.pop(phase)
        self._said.pop(phase)

    def note(self, message: str) -> None:
        """See `contracts.progress`."""
        self._print(f"  {message}")

    def kept(self, artifact: Artifact) -> None:
        """See `recipes.runner.Watcher`."""
        self._print(f"{artifact.name}: made before")

    def begins(self, name: str, number: int, total: int, resumed: bool) -> None:
        """See `recipes.runner.Watcher`."""
        self._paces.clear()
        self._said.clear()
        self._print(f"[{number}/{total}] {name}{': goes on from where it was cut off' if resumed else ''}")

    def made(self, artifact: Artifact) -> None:
        """See `recipes.runner.Watcher`."""
        parts = [figures.seconds(artifact.record.seconds), figures.summary(artifact.metrics)]
        self._print(f"{artifact.name}: made in {' · '.join(part for part in parts if part)}")

    def close(self) -> None:
        """Nothing to tidy up."""

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


@dataclass(slots=True)
class _Phase:
    """One bar."""

    pace: Pace
    done: float
    total: float | None
    shown: dict[str, float]


class TerminalProgress:
    """The stage at hand with a bar for each of its phases; when it is done, one line stays."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._heading = ""
        self._began = time.monotonic()
        self._phases: dict[str, _Phase] = {}

    def advance(self, phase: str, done: float, total: float | None = None, **shown: float) -> None:
        """See `contracts.progress`."""
        known = self._phases.get(phase)
        self._phases[phase] = _Phase(known.pace if known else Pace(done), done, total, shown)
        if self._live is None:
            self._open()

    def note(self, message: str) -> None:
        """See `contracts.progress`."""
        from rich.padding import Padding
        from rich.text import Text

        self._console.print(Padding(Text(message, style="dim"), (0, 0, 0, 4)))

    def kept(self, artifact: Artifact) -> None:
        """See `recipes.runner.Watcher`."""
        self._line("[green]✓[/]", artifact.name.rpartition("/")[2], "[dim]made before[/]")

    def begins(self, name: str, number: int, total: int, resumed: bool) -> None:
        """See `recipes.runner.Watcher`."""
        self._phases = {}
        self._began = time.monotonic()
        self._heading = f"[bold]{name:<14}[/] {number} of {total}" + (", resumed" if resumed else "")
        self._open()

    def made(self, artifact: Artifact) -> None:
        """See `recipes.runner.Watcher`."""
        self.close()
        took = f"[bold]{figures.seconds(artifact.record.seconds):>7}[/]"
        told = "   ".join(part for part in (took, figures.summary(artifact.metrics)) if part)
        self._line("[green]✓[/]", artifact.name.rpartition("/")[2], told)

    def close(self) -> None:
        """Takes the bars away."""
        if self._live is not None:
            self._live.stop()
        self._live = None

    def _line(self, sign: str, name: str, told: str) -> None:
        from rich.markup import escape

        self._console.print(f"{sign} [bold]{escape(name):<14}[/] {told}")

    def _open(self) -> None:
        from rich.live import Live

        self._live = Live(
            get_renderable=self._picture, console=self._console, refresh_per_second=8, transient=True
        )
        self._live.start()

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        elapsed = time.monotonic() - self._began
        sign = _SPINNER[int(elapsed * 8) % len(_SPINNER)]
        bars = Table.grid(padding=(0, 1))
        bars.add_column(no_wrap=True)
        bars.add_column(width=28)
        bars.add_column(no_wrap=True, justify="right")
        bars.add_column(style="dim", overflow="ellipsis", no_wrap=True)
        for name, phase in list(self._phases.items()):
            bar = ProgressBar(
                phase.total, phase.done, pulse=phase.total is None, complete_style="cyan",
                finished_style="green", pulse_style="cyan", style="bright_black", animation_time=elapsed,
            )  # fmt: skip
            bars.add_row(name, bar, _done(phase.done, phase.total), _beside(phase))
        heading = Text.from_markup(f"[cyan]{sign}[/] {self._heading} [dim]{figures.seconds(elapsed)}[/]")
        return Group(heading, Padding(bars, (0, 0, 0, 4)))


_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def _beside(phase: _Phase) -> str:
    parts = [figures.figure(*pair) for pair in phase.shown.items()]
    left = phase.pace.remaining(phase.done, phase.total)
    if left is not None and phase.total is not None and phase.done < phase.total:
        parts.append(f"{figures.seconds(left)} left")
    return " · ".join(parts)


def _done(done: float, total: float | None) -> str:
    if total is None:
        return figures.count(done)
    if total > 1_000_000:  # bytes or characters, where a share says more than the figures
        return f"{done / total:.0%}"
    return f"{figures.count(done)}/{figures.count(total)}"


def progress(*, silent: bool = False) -> TerminalProgress | LogProgress:
    """What suits standard error; `silent` for the ranks that are not to speak."""
    if silent:
        return LogProgress(io.StringIO())
    if not sys.stderr.isatty():
        return LogProgress()
    from hanji.cli.console import messages

    return TerminalProgress(messages())
