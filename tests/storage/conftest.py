"""Every test of a database runs on both: a SQLite file, and a PostgreSQL server where it can be started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from hanji.storage.database import Database
from hanji.storage.location import parse
from storage import postgres_server

_numbers = count()


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """A server for the whole run."""
    if reason := postgres_server.reason_to_skip():
        pytest.skip(reason)
    with postgres_server.running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Each call: the URL of an empty database; in PostgreSQL a schema of its own, which is made sooner."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/{next(_numbers)}/hanji.db"
    server: str = request.getfixturevalue("postgres_server_url")

    def empty() -> str:
        name = f"hanji_{next(_numbers)}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{server}?options=-csearch_path%3D{name}"

    return empty


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """The URL of an empty database."""
    return new_url()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database that is up to date."""
    with Database.open(parse(url, "test")) as opened:
        yield opened
