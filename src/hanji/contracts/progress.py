"""How long work tells what it is doing, without knowing who listens: a terminal, a log, nobody."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Whoever shows the work's progress."""

    def advance(self, phase: str, done: float, total: float | None = None, **figures: float) -> None:
        """`phase` has come to `done` of `total`; `figures` (loss, ...) are shown beside it."""

    def note(self, message: str) -> None:
        """A sentence that stays in the log."""


class Silent:
    """Shows nothing."""

    def advance(self, phase: str, done: float, total: float | None = None, **figures: float) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""
