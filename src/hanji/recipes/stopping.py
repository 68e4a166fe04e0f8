"""SIGTERM and SIGINT: work that can be resumed stops at its next safe point, other work at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from hanji.recipes.context import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Stopper:
    """Whether somebody asked for an end.

    Attributes:
        event: set by a signal while the work watches it.
        watched: whether the work at hand looks at `event`; if not, a signal raises `Interrupted` in it.
        number: the signal that came, if one did.
    """

    event: threading.Event = field(default_factory=threading.Event)
    watched: bool = False
    number: int | None = None

    @contextmanager
    def listening(self) -> Iterator[Stopper]:
        """Takes the signals while the block runs; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def interrupted(self, message: str, hint: str | None = None) -> Interrupted:
        """The error that ends the command, with the exit code that shells know for the signal."""
        error = Interrupted(message, hint=hint)
        error.exit_code = 128 + (self.number or signal.SIGTERM)
        return error

    def _take(self, number: int, _frame: FrameType | None) -> None:
        again = self.number is not None
        self.number = number
        self.event.set()
        if again or not self.watched:
            raise self.interrupted(f"Stopped by {signal.Signals(number).name}", "the same command goes on")
