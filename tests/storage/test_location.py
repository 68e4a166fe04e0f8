"""Where the database is, and that no message tells its password."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from hanji.contracts.errors import ConfigError
from hanji.storage.database import Database, StorageError
from hanji.storage.location import VARIABLE, database_url, masked, parse


def test_a_file_of_the_workspace_unless_the_environment_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert database_url(tmp_path) == make_url(f"sqlite:///{tmp_path}/hanji.db")
    monkeypatch.setenv(VARIABLE, " ")
    assert database_url(tmp_path).drivername == "sqlite"
    monkeypatch.setenv(VARIABLE, "postgres://me:pw@db.example/hanji")
    assert database_url(tmp_path) == make_url("postgresql+psycopg://me:pw@db.example/hanji")


@pytest.mark.parametrize(
    "text",
    [
        "hidden word",
        "postgresql://me:hidden@[::1/db",
        "postgresql://me:hidden@host:port/db",
        "mysql://me:hidden@host/db",
        "postgresql+asyncpg://me:hidden@host/db",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_what_is_no_url_of_ours_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, VARIABLE)
    told = str(caught.value)
    assert VARIABLE in told
    assert "postgresql://USER:PASSWORD@HOST/DATABASE" in told
    assert "hidden" not in told


def test_passwords_are_masked_wherever_they_stand() -> None:
    url = parse("postgresql://me:hidden@host/db?sslpassword=covert&application_name=hanji", "test")
    shown = masked(url)
    assert "hidden" not in shown
    assert "covert" not in shown
    assert "me:***@host/db" in shown
    assert "application_name=hanji" in shown


def test_a_wrong_password_is_told_without_telling_it(postgres_server_url: str) -> None:
    url = parse(postgres_server_url, "test").set(password="quite-wrong")
    with pytest.raises(StorageError) as caught:
        Database.open(url)
    told = str(caught.value)
    assert "authentication failed" in told
    assert "quite-wrong" not in told


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(StorageError) as caught:
        Database.open(parse("postgresql://me:hidden@127.0.0.1:1/db", "test"))
    assert "postgresql+psycopg://me:***@127.0.0.1:1/db" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_driver_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'hanji\[postgres\]'"):
        Database.open(parse("postgresql://me:hidden@host/db", "test"))
