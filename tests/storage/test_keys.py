"""Keys: only its owner has a token; checking one writes nothing; a revoked one is worth nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import event, text

from hanji.contracts.errors import ConfigError
from hanji.storage.database import Database
from hanji.storage.keys import TOKEN_START, ApiKey, Keys


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """What the database is asked."""
    asked: list[str] = []

    def listen(connection: object, cursor: object, statement: str, *rest: object) -> None:
        asked.append(statement)

    event.listen(database.engine, "before_cursor_execute", listen)
    yield asked
    event.remove(database.engine, "before_cursor_execute", listen)


def test_a_token_opens_and_is_not_stored(database: Database, keys: Keys) -> None:
    key, token = keys.create("app", requests_per_minute=60, concurrent=4)
    found = keys.check(token)
    assert found is not None
    assert (found.id, found.name, found.requests_per_minute, found.concurrent) == (key.id, "app", 60, 4)
    assert token.startswith(TOKEN_START)
    assert len(token) == len(TOKEN_START) + 43, "256 bits"
    with database.read() as session:
        row = session.execute(text("SELECT * FROM api_keys")).one()
    assert token not in repr(row)
    assert row.sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert token.startswith(row.prefix)
    assert row.sha256 not in repr(found)


def test_tokens_differ(keys: Keys) -> None:
    tokens = {keys.create(f"k{index}")[1] for index in range(20)}
    assert len(tokens) == 20


@pytest.mark.parametrize(
    "wrong", ["", "x", "hanji-", "Bearer", "\ud800" * 49, "hanji-" + "A" * 43, "A" * 10**6]
)
def test_what_is_no_token_opens_nothing(keys: Keys, wrong: str) -> None:
    _, token = keys.create("app")
    assert keys.check(wrong) is None
    assert keys.check(token[:-1] + ("A" if token[-1] != "A" else "B")) is None
    assert keys.check(token + " ") is None
    assert keys.check("hanji-" + "\ud800" * 43) is None


def test_checking_asks_once_and_writes_nothing(keys: Keys, statements: list[str]) -> None:
    _, token = keys.create("app")
    statements.clear()
    assert keys.check(token) is not None
    asked = [statement for statement in statements if not statement.startswith("BEGIN")]
    assert len(asked) == 1
    assert asked[0].startswith("SELECT")
    statements.clear()
    keys.check("no token")
    assert statements == []


def test_last_use_is_written_in_one_go(database: Database, keys: Keys) -> None:
    used, token = keys.create("used")
    idle, _ = keys.create("idle")
    keys.check(token)
    keys.check(token)
    assert all(key.last_used is None for key in keys.all())
    keys.write_last_used()
    after = {key.id: key.last_used for key in keys.all()}
    assert after[idle.id] is None
    assert after[used.id] is not None
    assert timedelta(0) <= after[used.id] - used.created < timedelta(minutes=1)

    later = Keys(database)
    later.check(token)
    keys.check(token)
    keys.write_last_used()
    newest = {key.id: key.last_used for key in keys.all()}[used.id]
    later.write_last_used()
    assert {key.id: key.last_used for key in keys.all()}[used.id] == newest, "an earlier use comes too late"


def test_nothing_to_write_asks_no_database(keys: Keys, statements: list[str]) -> None:
    _, token = keys.create("app")
    keys.check(token)
    keys.write_last_used()
    statements.clear()
    keys.write_last_used()
    assert statements == []


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_revoked_key_opens_nothing_more(database: Database, keys: Keys, by: str) -> None:
    key, token = keys.create("app")
    _, other = keys.create("other")
    serving = Keys(database)
    assert serving.check(token) is not None
    revoked = keys.revoke("app" if by == "name" else str(key.id))
    assert revoked.revoked is not None
    assert serving.check(token) is None
    assert serving.check(other) is not None
    with pytest.raises(ConfigError, match="revoked already"):
        keys.revoke("app")


def test_a_name_is_free_again_once_its_key_is_revoked(keys: Keys) -> None:
    _, first = keys.create("app")
    with pytest.raises(ConfigError, match="hanji keys revoke app"):
        keys.create("app")
    assert keys.check(first) is not None
    keys.revoke("app")
    second, token = keys.create("app")
    found = keys.check(token)
    assert found is not None
    assert found.id == second.id
    assert keys.check(first) is None
    assert [key.name for key in keys.all()] == ["app", "app"]


def test_mistakes_are_told(keys: Keys) -> None:
    keys.create("support")
    with pytest.raises(ConfigError, match="did you mean support"):
        keys.revoke("suport")
    for name in ("", "7", "a b", "a/b", "-x", "x" * 65):
        with pytest.raises(ConfigError, match="name of a key"):
            keys.create(name)
    with pytest.raises(ConfigError, match="concurrent"):
        keys.create("none", concurrent=0)
    assert isinstance(keys.create("고객센터")[0], ApiKey)
