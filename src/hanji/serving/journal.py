"""Requests and answers on their way into the database, where that was asked for: no answer waits for it."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Final

from hanji.storage.database import StorageError
from hanji.storage.request_log import LoggedRequest, RequestLog

log = logging.getLogger(__name__)

_WAITING: Final = 10_000
_AT_ONCE: Final = 200
_PURGE_SECONDS: Final = 3600.0


class Journal:
    """Writes requests in a thread of its own; where the database fails, they are lost, and counted.

    Args:
        retention_days: what is older is deleted, now and each hour; None keeps all.
        lost: told how many were lost.
    """

    def __init__(
        self, requests: RequestLog, retention_days: float | None, lost: Callable[[int], None]
    ) -> None:
        self._requests, self._retention_days, self._lost = requests, retention_days, lost
        self._waiting: queue.Queue[LoggedRequest] = queue.Queue(_WAITING)
        self._ending = Event()
        self._thread = Thread(target=self._run, name="hanji-journal", daemon=True)
        self._thread.start()

    def add(self, request: LoggedRequest) -> None:
        """Keeps a request, soon."""
        try:
            self._waiting.put_nowait(request)
        except queue.Full:
            self._lost(1)

    def find(self, answer_id: str) -> LoggedRequest | None:
        """The request that an answer came from, where it is kept.

        Raises:
            StorageError: the database fails.
        """
        return self._requests.get(answer_id)

    def close(self) -> None:
        """Writes what waits, and ends."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        purged: float | None = None
        while not (self._ending.is_set() and self._waiting.empty()):
            due = purged is None or time.monotonic() - purged >= _PURGE_SECONDS
            if self._retention_days is not None and due:
                purged = time.monotonic()
                self._purge(self._retention_days)
            self._write()

    def _write(self) -> None:
        rows = []
        try:
            rows.append(self._waiting.get(timeout=0.2))
            while len(rows) < _AT_ONCE:
                rows.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        if not rows:
            return
        try:
            self._requests.add(rows)
        except StorageError as error:
            log.error("%d requests could not be logged: %s", len(rows), error)
            self._lost(len(rows))

    def _purge(self, days: float) -> None:
        try:
            self._requests.purge(days)
        except StorageError as error:
            log.error("old requests could not be deleted: %s", error)
