"""Databases are made, brought up to date and shared between processes."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from hanji.storage import aliases, feedback, keys, request_log
from hanji.storage.database import Database, StorageError
from hanji.storage.location import parse
from hanji.storage.migrate import VERSION_TABLE, known_versions, version_of
from hanji.storage.tables import Base, to_json

TABLES = {module.__name__ for module in (aliases, feedback, keys, request_log)}
PROCESSES = 4
ROUNDS = 8
OPENS = """
import sys
import alembic.command
from hanji.storage.database import Database
from hanji.storage.keys import Keys
from hanji.storage.location import parse
print("ready", flush=True)
for line in sys.stdin:
    with Database.open(parse(line.strip(), "test")) as database:
        Keys(database).create("key-" + sys.argv[1])
    print("done", flush=True)
"""


def test_migrations_make_the_tables_of_the_code(database: Database) -> None:
    def ours(found: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:
        return name != VERSION_TABLE

    options = {"include_object": ours, "compare_type": True, "compare_server_default": True}
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == [], "write the next file of migrations/versions"
    assert len(TABLES) == len(Base.metadata.tables)


def test_opening_again_changes_nothing(url: str) -> None:
    for _ in range(2):
        with Database.open(parse(url, "test")) as database, database.engine.connect() as connection:
            assert version_of(connection) == known_versions()[-1]


@pytest.mark.slow
def test_several_processes_migrate_at_once(new_url: Callable[[], str]) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENS, str(index)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for index in range(PROCESSES)
    ]  # fmt: skip
    urls = [new_url() for _ in range(ROUNDS)]
    said = [process.stdout.readline() for process in processes]
    assert said == ["ready\n"] * PROCESSES
    for url in urls:
        for process in processes:
            process.stdin.write(url + "\n")
            process.stdin.flush()
        said = [process.stdout.readline() for process in processes]
        if said != ["done\n"] * PROCESSES:
            break
    errors = "".join(process.communicate()[1] for process in processes)
    assert [process.returncode for process in processes] == [0] * PROCESSES, errors
    for url in urls:
        with Database.open(parse(url, "test")) as database:
            assert {key.name for key in keys.Keys(database).all()} == {f"key-{n}" for n in range(PROCESSES)}


def test_a_newer_database_is_refused(url: str) -> None:
    with Database.open(parse(url, "test")) as database, database.write() as session:
        session.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StorageError, match="newer hanji") as caught:
        Database.open(parse(url, "test"))
    assert "9999" in str(caught.value)
    assert f"at most {known_versions()[-1]}" in str(caught.value)
    assert "not-so-secret" not in str(caught.value)


def test_a_migration_that_fails_leaves_nothing_behind(url: str) -> None:
    """A table of the last step is in the way: the earlier ones are not made either."""
    database = Database(parse(url, "test"))
    if url.startswith("sqlite"):
        Path(database.engine.url.database or "").parent.mkdir()
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE requests (x INTEGER)"))
    with pytest.raises(StorageError, match="already exists"):
        Database.open(parse(url, "test"))
    with database.engine.connect() as connection:
        assert version_of(connection) is None
        assert not database.engine.dialect.has_table(connection, "api_keys")
    database.close()


def test_a_block_that_raises_changes_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as session:
        session.add(aliases.Deployment(alias="a", artifact="a/b/c"))
        session.flush()
        raise RuntimeError
    assert aliases.Aliases(database).current() == {}


def test_foreign_keys_hold_and_the_message_shows_no_values(database: Database) -> None:
    book = feedback.FeedbackBook(database)
    with pytest.raises(StorageError, match=r"(?i)foreign key") as caught:
        book.give(feedback.Feedback(answer_id="a", rating="up", model="m", comment="private", key_id=7))
    assert "private" not in str(caught.value)
    assert book.all() == []


def test_moments_are_utc_again(database: Database) -> None:
    seoul = datetime(2026, 3, 1, 8, 30, tzinfo=timezone(timedelta(hours=9)))
    with database.write() as session:
        session.add(aliases.Deployment(alias="a", artifact="a/b/c", created=seoul))
    with database.read() as session:
        found = session.scalars(select(aliases.Deployment)).one().created
    assert found == seoul
    assert found.tzinfo is UTC
    assert found.hour == 23


def test_text_that_no_database_stores_is_stored_nearly(database: Database) -> None:
    book = feedback.FeedbackBook(database)
    odd = "한지 😀 \0 \ud83d \udc00 \ufeff"
    book.give(feedback.Feedback(answer_id="a", rating="up", model="m", comment=odd))
    (found,) = book.all()
    assert found.comment == "한지 😀 \ufffd \ufffd \ufffd \ufeff"


def test_json_stays_readable_and_valid() -> None:
    assert to_json({"text": "한지\0"}) == '{"text": "한지\\u0000"}'
    assert to_json(["\ud800", float("nan"), (1.5, float("-inf"))]) == '["\\ud800", null, [1.5, null]]'


def test_sqlite_is_private_and_set_up_for_sharing(tmp_path: Path) -> None:
    with Database.open(parse(f"sqlite:///{tmp_path}/deep/hanji.db", "test")) as database:
        with database.read() as session:
            asked = ("journal_mode", "foreign_keys", "busy_timeout", "secure_delete")
            found = [session.scalar(text(f"PRAGMA {name}")) for name in asked]
        assert found == ["wal", 1, 10_000, 1]
        files = list((tmp_path / "deep").iterdir())
        assert len(files) == 3, "the database, its log, and the index of that"
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_sqlite_readers_go_on_and_writers_wait(tmp_path: Path) -> None:
    url = parse(f"sqlite:///{tmp_path}/hanji.db", "test")
    held = threading.Event()

    def hold() -> None:
        with Database.open(url) as other, other.write() as session:
            session.scalars(
                select(aliases.Deployment)
            ).all()  # the lock is its own from the first question on
            held.set()
            time.sleep(0.3)

    with Database.open(url) as database:
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        began = time.monotonic()
        with Database.open(url) as newcomer:
            assert aliases.Aliases(newcomer).current() == {}
        assert time.monotonic() - began < 0.25
        aliases.Aliases(database).deploy("a", "a/b/c")
        waited = time.monotonic() - began
        thread.join()
    assert waited > 0.2


def test_sqlite_waits_for_whoever_writes_a_new_file(tmp_path: Path) -> None:
    """Where another turns WAL on, or writes before it is on, SQLite itself says at once that it is locked."""
    other = sqlite3.connect(tmp_path / "hanji.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, other.close)
    timer.start()
    with Database.open(parse(f"sqlite:///{tmp_path}/hanji.db", "test")) as database:
        assert aliases.Aliases(database).current() == {}
    timer.join()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hanji.db").write_text("a note " * 1000)
    with pytest.raises(StorageError, match="not a database"):
        Database.open(parse(f"sqlite:///{tmp_path}/hanji.db", "test"))
    assert (tmp_path / "hanji.db").read_text() == "a note " * 1000


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with Database.open(parse(f"sqlite:///{tmp_path}/hanji.db", "test")) as database:
        log = request_log.RequestLog(database)
        with database.engine.connect() as connection:  # the pool's one connection, given back
            pages = connection.scalar(text("PRAGMA page_count"))
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        row = request_log.LoggedRequest(
            answer_id="a", kind="chat", model="m", request={"text": "x" * 500_000}
        )
        with pytest.raises(StorageError, match="full"):
            log.add([row])
        assert log.get("a") is None
        aliases.Aliases(database).deploy("a", "a/b/c")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Database.open(parse(f"sqlite:///{tmp_path}/file/hanji.db", "test"))


def test_deleted_text_is_gone_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hanji.db"
    with Database.open(parse(f"sqlite:///{path}", "test")) as database:
        log = request_log.RequestLog(database)
        log.add([request_log.LoggedRequest(answer_id="a", kind="chat", model="m", request={"t": "MYSECRET"})])
    assert b"MYSECRET" in path.read_bytes(), "closing brings the log into the file"
    with Database.open(parse(f"sqlite:///{path}", "test")) as database:
        assert request_log.RequestLog(database).purge(days=0) == 1
    assert b"MYSECRET" not in path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]
