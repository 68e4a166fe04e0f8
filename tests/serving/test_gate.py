"""Who may ask, by which name of the host, how much, how often."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

from hanji.serving import server
from hanji.serving.chores import NoteKeys
from hanji.serving.limits import Limits
from hanji.serving.models import Models
from hanji.serving.service import Service
from hanji.storage.database import Database
from hanji.storage.keys import Keys
from serving.running import Running, Trained, running, starting

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Count."}], "max_tokens": 2}


@pytest.fixture
def guarded(trained: Trained, database: Database) -> Iterator[Running]:
    """A service that wants keys, and takes bodies of 2,000 bytes."""
    keys = Keys(database)
    models = Models({"tiny": starting(trained.model, trained.tokenizer, slots=2)})
    service = Service(models, Limits(body_bytes=2000), keys=keys, chores=[NoteKeys(keys)])
    with running(service) as one:
        yield one


def ask(running: Running, token: str | None, **headers: str) -> httpx2.Response:
    own = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return httpx2.post(
        f"{running.url}/v1/chat/completions", json=BODY, headers={**own, **headers}, timeout=30
    )


def test_only_a_good_key_opens(guarded: Running, database: Database) -> None:
    keys = Keys(database)
    _, token = keys.create("team")
    assert guarded.client(token).chat.completions.create(**BODY).choices  # type: ignore[call-overload]
    for wrong in (None, "hanji-wrong", token[:-1], token + "x", "~" * 49, token.upper()):
        refused = ask(guarded, wrong)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert refused.json()["error"]["type"] == "authentication_error"
    with pytest.raises(openai.AuthenticationError):
        guarded.client("sk-other").models.list()
    assert ask(guarded, None, Authorization=f"Basic {token}").status_code == 401
    keys.revoke("team")
    assert ask(guarded, token).status_code == 401
    assert ask(guarded, token).json()["error"]["code"] == "invalid_api_key"


def test_what_needs_no_key(guarded: Running) -> None:
    for path, status in (
        ("/health", 200),
        ("/ready", 200),
        ("/metrics", 401),
        ("/v1/models", 401),
        ("/v1", 401),
    ):
        assert httpx2.get(f"{guarded.url}{path}").status_code == status


def test_requests_of_a_minute(guarded: Running, database: Database) -> None:
    _, token = Keys(database).create("slow", requests_per_minute=2)
    _, other = Keys(database).create("other")
    assert [ask(guarded, token).status_code for _ in range(3)] == [200, 200, 429]
    refused = ask(guarded, token)
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert ask(guarded, other).status_code == 200


def test_requests_at_once(guarded: Running, database: Database) -> None:
    _, token = Keys(database).create("one", concurrent=1)
    long: dict[str, Any] = {**BODY, "max_tokens": 200, "extra_body": {"ignore_eos": True}}
    client = guarded.client(token)
    stream = client.chat.completions.create(stream=True, **long)
    next(iter(stream))
    assert ask(guarded, token).status_code == 429
    stream.close()
    deadline = time.monotonic() + 10
    while ask(guarded, token).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_use_of_keys_is_noted_at_the_end(trained: Trained, database: Database) -> None:
    keys = Keys(database)
    _, token = keys.create("team")
    models = Models({"tiny": starting(trained.model, trained.tokenizer, slots=1)})
    with running(Service(models, keys=keys, chores=[NoteKeys(keys)])) as one:
        assert ask(one, token).status_code == 200
    assert Keys(database).all()[0].last_used is not None


def test_large_bodies(guarded: Running, database: Database) -> None:
    _, token = Keys(database).create("team")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    large = json.dumps({**BODY, "user": "x" * 3000}).encode()

    def parts() -> Iterator[bytes]:
        for start in range(0, len(large), 500):
            yield large[start : start + 500]

    for content in (large, parts()):  # with its length, and without
        refused = httpx2.post(f"{guarded.url}/v1/chat/completions", content=content, headers=headers)
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "body_too_large"


def test_names_of_the_host(trained: Trained) -> None:
    models = Models({"tiny": starting(trained.model, trained.tokenizer, slots=1)})
    with running(Service(models, hosts=server.LOOPBACK_NAMES)) as one:
        port = one.url.rpartition(":")[2]
        good = [f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST", f"[::1]:{port}"]
        bad = ["evil.example", f"127.0.0.1.evil.example:{port}", "[::2]", ""]
        for host, status in [*((name, 200) for name in good), *((name, 421) for name in bad)]:
            assert httpx2.get(f"{one.url}/v1/models", headers={"Host": host}).status_code == status, host


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("[::1]", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.com", False), ("", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert server.is_loopback(host) is expected


def test_figures(trained: Trained) -> None:
    models = Models({"tiny": starting(trained.model, trained.tokenizer, slots=3)})
    with running(Service(models)) as one, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(one, None).json(), range(4)))
        ask(one, None, Host="x")
        httpx2.get(f"{one.url}/v1/nothing")
        text = httpx2.get(f"{one.url}/metrics").text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    prompt, written = (
        sum(answer["usage"][kind] for answer in answers) for kind in ("prompt_tokens", "completion_tokens")
    )
    each = answers[0]["usage"]["prompt_tokens"]
    assert float(figures['hanji_tokens_total{kind="prompt",model="tiny"}']) == prompt + each
    assert float(figures['hanji_tokens_total{kind="completion",model="tiny"}']) == written + 2
    assert figures['hanji_requests_total{code="200",endpoint="/v1/chat/completions"}'] == "5.0"
    assert figures['hanji_requests_total{code="404",endpoint="other"}'] == "1.0"
    assert figures['hanji_time_to_first_token_seconds_count{model="tiny"}'] == "5.0"
    assert figures['hanji_time_per_token_seconds_count{model="tiny"}'] == "5.0"
    assert figures['hanji_slots{model="tiny"}'] == "3.0"
    assert figures['hanji_queue_length{model="tiny"}'] == figures['hanji_running{model="tiny"}'] == "0.0"
    assert figures['hanji_errors_total{code="404"}'] == "1.0"
