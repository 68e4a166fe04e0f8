"""A model that writes nothing: encoders and classifiers, read by one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from hanji.generation.requests import Request
from hanji.serving.backend import Load, OnPiece, Result, Ticket
from hanji.serving.errors import busy, invalid


class ReadingThread:
    """A `Backend` that only reads.

    Args:
        context: tokens that the model reads at most.
        reserved: tokens that are put before every text: a soft prompt.
        queue: calls that may wait.
    """

    def __init__(self, context: int, reserved: int, queue: int) -> None:
        self.context, self.reserved, self._queue = context, reserved, queue
        self._waiting, self._lock = 0, Lock()
        self._thread = ThreadPoolExecutor(1, "hanji-reader")

    def submit(self, requests: Sequence[Request], on_piece: OnPiece) -> list[Ticket]:
        """See `Backend`: there is nothing that it could answer."""
        raise invalid("This model writes no text", "model")

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """See `Backend`."""
        with self._lock:
            if self._waiting > self._queue:
                raise busy("Too many requests wait for this model; try again soon", code="queue_full")
            self._waiting += 1
        future = self._thread.submit(work)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: object) -> None:
        with self._lock:
            self._waiting -= 1

    def load(self) -> Load:
        """See `Backend`."""
        return Load(max(self._waiting - 1, 0), min(self._waiting, 1), 1, 0, 0)

    def is_alive(self) -> bool:
        """See `Backend`."""
        return True

    def close(self) -> None:
        """See `Backend`."""
        self._thread.shutdown(cancel_futures=True)
