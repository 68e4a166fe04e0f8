"""A database, opened: brought up to date, and lent out in sessions that read or write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, TimeoutError
from sqlalchemy.orm import Session, sessionmaker

from hanji.contracts.errors import ConfigError, HanjiError
from hanji.storage import migrate, sqlite
from hanji.storage.location import masked, without_secrets
from hanji.storage.tables import to_json

CONNECT_TIMEOUT_SECONDS: Final = 10


class StorageError(HanjiError):
    """The database cannot be opened, or does not do what it was asked."""


class Database:
    """A database that is up to date.

    Sessions are short: one question, or one change. Their rows are plain objects, to be used afterwards.
    All of it may be called from several threads; it blocks, so that a server calls it in one.

    Attributes:
        place: its URL without secrets, for messages.
    """

    def __init__(self, url: URL) -> None:
        """See `open`, which everyone but tests wants."""
        self._url = url
        self.place: Final = masked(url)
        self.engine: Final = _engine(url)
        writing = self.engine.execution_options(**{sqlite.WRITES: True})
        self._readers = sessionmaker(self.engine, expire_on_commit=False)
        self._writers = sessionmaker(writing, expire_on_commit=False)

    @classmethod
    def open(cls, url: URL) -> Self:
        """Opens the database, makes it where there is none, and migrates it to what this program knows.

        Raises:
            ConfigError: its driver is not installed.
            StorageError: it cannot be reached, or is newer than this program.
        """
        database = cls(url)
        try:
            with database._failures():
                if url.drivername == "sqlite":
                    sqlite.make_file(str(url.database))
                migrate.to_head(database.engine, database._refuse_newer)
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Gives its connections back."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database.

        Raises:
            StorageError: the database fails.
        """
        with self._failures(), self._readers.begin() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are made together at the end, or not at all where the block raises.

        Raises:
            StorageError: the database fails: locked for too long, the disk full, a constraint broken.
        """
        with self._failures(), self._writers.begin() as session:
            yield session

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """What the database says, in our words; a message shows no values, and no password."""
        try:
            yield
        except (DBAPIError, TimeoutError, OSError) as error:
            said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
            raise StorageError(
                "The database did not do what it was asked",
                where=self.place,
                value=without_secrets(" ".join(said.split()), self._url),
            ) from None

    def _refuse_newer(self, found: str, newest: str) -> None:
        raise StorageError(
            "This database was written by a newer hanji",
            where=self.place,
            value=found,
            expected=f"at most {newest}",
            hint="update hanji, or go back to a copy of the database from before",
        )


def _engine(url: URL) -> Engine:
    arguments: dict[str, Any] = {}
    if url.drivername != "sqlite" and "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT_SECONDS
    try:
        engine = create_engine(
            url, connect_args=arguments, hide_parameters=True, json_serializer=to_json,
            pool_pre_ping=url.drivername != "sqlite",
        )  # fmt: skip
    except ModuleNotFoundError as error:
        raise ConfigError(
            "The driver of this database is not installed",
            where=masked(url),
            value=error.name,
            hint="pip install 'hanji[postgres]'",
        ) from error
    if url.drivername == "sqlite":
        event.listen(engine, "connect", sqlite.prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    sqlite.begin(connection)
