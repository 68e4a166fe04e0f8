"""Answers are rated by their ids, and kept with their requests where that is asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
from sqlalchemy import event

from hanji.serving.journal import Journal
from hanji.serving.models import Models
from hanji.serving.service import Service
from hanji.storage.database import Database
from hanji.storage.feedback import FeedbackBook
from hanji.storage.keys import Keys
from hanji.storage.request_log import LoggedRequest, RequestLog
from hanji.storage.tables import now
from serving.running import KNOWN, Running, Trained, running, starting

COUNT: Any = {"model": "tiny", "messages": [{"role": "user", "content": "Count."}], "temperature": 0}


def service(trained: Trained, database: Database, **parts: Any) -> Service:
    models = Models({"tiny": starting(trained.model, trained.tokenizer, slots=2)})
    return Service(models, feedback=FeedbackBook(database), **parts)


def rate(one: Running, answer_id: str, rating: str = "up", **fields: Any) -> httpx2.Response:
    return httpx2.post(f"{one.url}/v1/feedback", json={"id": answer_id, "rating": rating, **fields})


def test_feedback_is_kept_by_the_answers_id(trained: Trained, database: Database) -> None:
    with running(service(trained, database)) as one:
        first = one.client().chat.completions.create(**COUNT)
        chunks = list(one.client().completions.create(model="tiny", prompt="one", stream=True))
        assert len(first.id) >= len("chatcmpl-") + 32
        assert rate(one, first.id, "down", comment="짧다", corrected="eight").status_code == 200
        assert rate(one, chunks[0].id).json()["model"] == "tiny"
        assert rate(one, first.id, "up").status_code == 200
        guessed = rate(one, "chatcmpl-" + "0" * 32)
        assert (guessed.status_code, guessed.json()["error"]["param"]) == (404, "id")
        assert rate(one, first.id, "great").status_code == 400
    kept = {said.answer_id: said for said in FeedbackBook(database).all()}
    assert set(kept) == {first.id, chunks[0].id}
    assert (kept[first.id].rating, kept[first.id].comment) == ("up", None)


def test_requests_are_kept_only_where_asked_for(trained: Trained, database: Database) -> None:
    log, keys = RequestLog(database), Keys(database)
    key, token = keys.create("team")
    with running(service(trained, database)) as one:
        one.client().chat.completions.create(**COUNT)
    assert log.all() == []
    old = LoggedRequest(
        answer_id="cmpl-old", kind="completion", model="tiny", request={}, started=now() - timedelta(days=3)
    )
    log.add([old])
    lost: list[int] = []
    with running(service(trained, database, keys=keys, journal=Journal(log, 1.0, lost.append))) as one:
        client = one.client(token)
        whole = client.chat.completions.create(user="kim", **COUNT)
        stream = list(client.chat.completions.create(stream=True, **COUNT))
        leaving = client.chat.completions.create(
            stream=True, max_tokens=400, extra_body={"ignore_eos": True}, **COUNT
        )
        next(iter(leaving))
        leaving.close()
    found = {logged.answer_id: logged for logged in log.all()}
    assert len(found) == 3  # what was older than a day is gone
    assert lost == []
    for answer_id in (whole.id, stream[0].id):
        kept = found[answer_id]
        assert kept.answer is not None
        assert kept.answer["choices"] == [{"text": KNOWN["Count."], "finish_reason": "stop"}]
        assert kept.answer["artifact"] == "test/tiny/0000"
        assert (kept.kind, kept.model, kept.finish, kept.key_id) == ("chat", "tiny", "stop", key.id)
        assert kept.request["messages"] == COUNT["messages"]
        assert kept.seconds is not None
        assert kept.first_token_seconds is not None
        assert 0 < kept.first_token_seconds <= kept.seconds
        assert (kept.prompt_tokens, kept.completion_tokens) == (
            whole.usage.prompt_tokens, whole.usage.completion_tokens,
        )  # fmt: skip
    assert found[whole.id].request["user"] == "kim"
    assert sorted(kept.finish or "" for kept in found.values()) == ["cancelled", "stop", "stop"]


def test_feedback_long_after_where_requests_are_kept(trained: Trained, database: Database) -> None:
    log = RequestLog(database)
    with running(service(trained, database, journal=Journal(log, None, lambda _: None))) as one:
        answer = one.client().chat.completions.create(**COUNT)
    with running(service(trained, database, journal=Journal(log, None, lambda _: None))) as one:
        assert rate(one, answer.id).json()["model"] == "tiny"
    with running(service(trained, database)) as one:
        assert rate(one, answer.id).status_code == 404


def test_a_disk_that_is_full_harms_no_answer(trained: Trained, database: Database) -> None:
    """SQLite's own limit of a file's pages, which fails as a full disk does."""
    one_service = service(trained, database)
    one_service.journal = Journal(RequestLog(database), None, one_service.metrics.log_lost)
    long = {**COUNT, "user": "x" * 500}
    with running(one_service) as one:
        event.listen(
            database.engine, "connect", lambda own, _: own.execute("PRAGMA max_page_count = 1").close()
        )
        database.engine.dispose()
        for _ in range(30):  # until the pages that there are hold no more
            answer = one.client().chat.completions.create(**long)
            assert answer.choices[0].message.content == KNOWN["Count."]
        refused = rate(one, answer.id, comment="x" * 5000)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_failed")
    assert b"hanji_log_lost_total 0.0" not in one_service.metrics.text()
    assert b"hanji_log_lost_total" in one_service.metrics.text()
