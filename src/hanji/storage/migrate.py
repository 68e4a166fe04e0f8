"""Bringing a database to the newest form of its tables; safe where several processes open it at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, func, inspect, select, text

from hanji.storage import sqlite

MIGRATIONS: Final = Path(__file__).with_name("migrations")
VERSION_TABLE: Final = "hanji_version"
"""Not alembic's own name, which another program in the same database may use."""
_ADVISORY_LOCK: Final = 0x68616E6A69  # "hanji"


@cache
def known_versions() -> tuple[str, ...]:
    """The numbers of all migrations, oldest first: `versions/0001_service.py` is 0001."""
    return tuple(sorted(path.stem.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")))


def version_of(connection: Connection) -> str | None:
    """The last migration that the database has seen; None where it is empty."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return found


def to_head(engine: Engine, refuse_newer: Callable[[str, str], None]) -> None:
    """Runs the migrations that the database lacks, all in one transaction, one process at a time.

    Args:
        refuse_newer: is told the version found and the newest known, where we do not know the first; raises.
    """
    newest = known_versions()[-1]
    with engine.connect() as connection:
        found = version_of(connection)
    if found is not None and found not in known_versions():
        refuse_newer(found, newest)
    if found == newest:
        return
    with engine.execution_options(**{sqlite.WRITES: True}).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        if version_of(connection) != newest:  # nobody else did it while we waited
            _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
