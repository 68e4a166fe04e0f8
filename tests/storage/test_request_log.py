"""The request log keeps what it is given, and only so long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hanji.storage import request_log
from hanji.storage.database import Database, StorageError
from hanji.storage.request_log import LoggedRequest, RequestLog
from hanji.storage.tables import now


@pytest.fixture
def log(database: Database) -> RequestLog:
    return RequestLog(database)


def logged(answer_id: str, days_ago: float = 0, **fields: Any) -> LoggedRequest:
    started = now() - timedelta(days=days_ago)
    return LoggedRequest(
        **{"answer_id": answer_id, "kind": "chat", "model": "m", "request": {}, "started": started, **fields}
    )


def test_all_of_it_is_kept(log: RequestLog) -> None:
    request = {
        "messages": [{"role": "user", "content": "안녕 😀 \0 \ud800"}],
        "temperature": 0.7,
        "stop": None,
    }
    given = logged(
        "a", request=request, answer={"text": "네"}, finish="stop", prompt_tokens=5, completion_tokens=2,
        first_token_seconds=0.25, seconds=1.5,
    )  # fmt: skip
    log.add([given])
    found = log.get("a")
    assert found is not None
    for column in LoggedRequest.__table__.columns:
        assert getattr(found, column.key) == getattr(given, column.key), column.key
    assert "안녕" not in repr(found)


def test_an_answer_that_never_came(log: RequestLog) -> None:
    log.add([logged("a", finish="cancelled")])
    found = log.get("a")
    assert found is not None
    assert found.answer is None
    assert log.get("b") is None


def test_the_newest_come_first(log: RequestLog) -> None:
    log.add([logged(str(age), days_ago=age) for age in range(5)])
    assert [found.answer_id for found in log.all(limit=2)] == ["0", "1"]
    assert [found.answer_id for found in log.all(since=now() - timedelta(days=1.5))] == ["0", "1"]


def test_all_or_none(log: RequestLog) -> None:
    log.add([logged("a")])
    with pytest.raises(StorageError):
        log.add([logged("b"), logged("a")])
    assert [found.answer_id for found in log.all()] == ["a"]


def test_purging_deletes_what_is_older_and_nothing_else(
    log: RequestLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "_PURGED_AT_ONCE", 3)
    log.add([logged(f"old-{index}", days_ago=8) for index in range(7)])
    log.add([logged("young", days_ago=6), logged("new")])
    assert log.purge(days=7) == 7
    assert [found.answer_id for found in log.all()] == ["new", "young"]
    assert log.purge(days=7) == 0
