"""Where the database is: a file of the workspace, or what HANJI_DATABASE_URL names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from hanji.contracts.errors import ConfigError

VARIABLE: Final = "HANJI_DATABASE_URL"
FILE: Final = "hanji.db"
_POSTGRESQL: Final = "postgresql+psycopg"
_DRIVERS: Final = {
    "sqlite": "sqlite",
    "postgres": _POSTGRESQL,
    "postgresql": _POSTGRESQL,
    _POSTGRESQL: _POSTGRESQL,
}
_EXPECTED: Final = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
_MASK: Final = "***"


def database_url(runs: Path) -> URL:
    """The database named by the environment, else the SQLite file of the workspace `runs`.

    Raises:
        ConfigError: the variable holds no URL of a database that we know.
    """
    named = os.environ.get(VARIABLE, "").strip()
    return parse(named, VARIABLE) if named else URL.create("sqlite", database=str(runs / FILE))


def parse(text: str, where: str) -> URL:
    """A URL as people write it, with the driver that we use.

    Raises:
        ConfigError: it is none, or of another kind of database; the text is not repeated, for it may hold a
            password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError("This is not the URL of a database", where=where, expected=_EXPECTED) from None
    if url.drivername not in _DRIVERS:
        raise ConfigError(
            "hanji cannot use such a database", where=where, value=url.drivername, expected=_EXPECTED
        )
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigError(
            "A database in memory would forget keys and feedback", where=where, expected=_EXPECTED
        )
    return url.set(drivername=_DRIVERS[url.drivername])


def masked(url: URL) -> str:
    """The URL as it may be shown: no password, neither before the host nor among the options."""
    shown = {name: _MASK if "pass" in name.lower() else value for name, value in url.query.items()}
    return url.set(query=shown).render_as_string(hide_password=True)


def without_secrets(message: str, url: URL) -> str:
    """A message of the driver, with the URL's secrets masked wherever they stand in it."""
    options = [value for name, value in url.query.items() if "pass" in name.lower()]
    for secret in (url.password, *options):
        if isinstance(secret, str) and secret:
            message = message.replace(secret, _MASK)
    return message
