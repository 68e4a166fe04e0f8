"""What SQLite needs for several processes, a server among them, to share a file safely."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

BUSY_TIMEOUT_SECONDS: Final = 10
"""How long a writer waits for another."""
WRITES: Final = "hanji_writes"
"""The execution option of connections that are going to write."""
_PAUSE_SECONDS: Final = 0.02


def make_file(name: str) -> None:
    """Makes an empty file that only its owner reads, for it will hold what people wrote to a model.

    A file that is there already keeps its permissions; so do SQLite's files beside it, which take the file's.
    """
    path = Path(name)
    if name.startswith("file:") or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def prepare(connection: Any, _record: object) -> None:
    """Sets a new connection up: foreign keys hold, writers wait, readers and a writer do not wait for each
    other (WAL), deleted rows are overwritten, and transactions begin where we say."""
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    _turn_on_wal(connection)


def begin(connection: Connection) -> None:
    """A writer takes its lock at once: one that has read first could not wait for another, and would fail."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _turn_on_wal(connection: Any) -> None:
    """The mode is the file's, and stays; SQLite does not wait here for others who turn it on, so we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
