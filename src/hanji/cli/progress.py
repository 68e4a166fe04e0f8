"""Progress of a run, for whoever watches: bars on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from hanji.artifacts.artifact import Artifact
from hanji.cli import figures

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LOG_SECONDS = 10.0
"""In a log, a phase tells of itself at most this often, and at its end."""


@dataclass(slots=True)
class Pace:
    """How fast a phase goes: what remains at the pace since it was first seen."""

    first: float
    began: float = field(default_factory=time.monotonic)

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


class TerminalProgress:
    """Bars that vanish when their stage is done, and a line that stays for each stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._paces: dict[str, Pace] = {}

    def advance(self, phase: str, done: float, total: float | None = None, **shown: float) -> None:
        """See `contracts.progress`."""
        bars = self._bars or self._open()
        pace = self._paces.setdefault(phase, Pace(done))
        left = pace.remaining(done, total)
        parts = [figures.figure(*pair) for pair in shown.items()]
        if left is not None and total is not None and done < total:
            parts.append(f"{figures.seconds(left)} left")
        if phase not in self._tasks:
            self._tasks[phase] = bars.add_task(phase, total=total, done="", figures="")
        told = " · ".join(parts)
        bars.update(self._tasks[phase], completed=done, total=total, done=_done(done, total), figures=told)

    def note(self, message: str) -> None:
        """See `contracts.progress`."""
        from rich.text import Text

        self._console.print(Text(f"    {message}", style="dim"))

    def kept(self, artifact: Artifact) -> None:
        """See `recipes.runner.Watcher`."""
        self._line("[green]✓[/]", artifact.name.rpartition("/")[2], "[dim]made before[/]")

    def begins(self, name: str, number: int, total: int, resumed: bool) -> None:
        """See `recipes.runner.Watcher`."""
        told = f"[dim]{number} of {total}[/]" + (" · goes on from where it was cut off" if resumed else "")
        self._line("[cyan]▸[/]", name, told)

    def made(self, artifact: Artifact) -> None:
        """See `recipes.runner.Watcher`."""
        self.close()
        parts = [f"[bold]{figures.seconds(artifact.record.seconds)}[/]", figures.summary(artifact.metrics)]
        self._line(
            "[green]✓[/]", artifact.name.rpartition("/")[2], " · ".join(part for part in parts if part)
        )

    def close(self) -> None:
        """Takes the bars away."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._tasks.clear()
        self._paces.clear()

    def _line(self, sign: str, name: str, told: str) -> None:
        from rich.markup import escape

        self._console.print(f"{sign} [bold]{escape(name):<14}[/] {told}")

    def _open(self) -> Bars:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("    {task.description:<16}"),
            BarColumn(bar_width=28, complete_style="cyan", finished_style="green"),
            TextColumn("{task.fields[done]}", justify="right"),
            TextColumn("[dim]{task.fields[figures]}"),
            console=self._console,
            transient=True,
        )
        self._bars.start()
        return self._bars


def _done(done: float, total: float | None) -> str:
    if total is None:
        return figures.count(done)
    if total > 1_000_000:  # bytes or characters, where a share says more than the figures
        return f"{done / total:.0%}"
    return f"{figures.count(done)}/{figures.count(total)}"


def progress() -> TerminalProgress | LogProgress:
    """What suits standard error."""
    if not sys.stderr.isatty():
        return LogProgress()
    from hanji.cli.console import messages

    return TerminalProgress(messages())
