"""A name takes on another model while it is asked: no request fails, and none is answered by both."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from threading import Event
from typing import Any

import httpx2
import torch

from hanji.serving.chores import FollowAliases
from hanji.serving.models import Loaded, Models, Settings, Start, start
from hanji.serving.service import Service
from hanji.storage.aliases import Aliases
from hanji.storage.database import Database
from serving.running import KNOWN, Trained, running

COUNT: Any = {"model": "support", "messages": [{"role": "user", "content": "Count."}], "temperature": 0}


def test_an_alias_is_followed_without_a_failed_request(trained: Trained, database: Database) -> None:
    other = deepcopy(trained.model)
    with torch.no_grad():
        other.lm_head.weight.copy_(other.lm_head.weight.roll(1, 0))
    known = {"demo/chat/aaa": trained.model, "demo/chat/bbb": other}

    def load(name: str, artifact: str) -> Start:
        model = deepcopy(known[artifact])  # KeyError: what cannot be loaded
        return partial(
            start, name, Loaded(model, trained.tokenizer, "causal", artifact), Settings(slots=2), 64
        )

    aliases = Aliases(database)
    aliases.deploy("support", "demo/chat/aaa")
    models = Models({"support": load("support", "demo/chat/aaa")})
    follow = FollowAliases(models, aliases, {"support": "demo/chat/aaa"}, load, every_seconds=0.1)
    with running(Service(models, chores=[follow])) as one, ThreadPoolExecutor(4) as pool:
        client, ending = one.client(), Event()

        def asking() -> list[tuple[str, str]]:
            found = []
            while not ending.is_set():
                answer = client.chat.completions.create(max_tokens=24, **COUNT)
                found.append((answer.system_fingerprint, answer.choices[0].message.content))
            return found

        askers = [pool.submit(asking) for _ in range(4)]

        def until(artifact: str) -> None:
            deadline = time.monotonic() + 20
            while client.models.retrieve("support").model_dump()["artifact"] != artifact:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.3)

        old = one.backend("support")
        long = client.chat.completions.create(
            stream=True, max_tokens=300, extra_body={"ignore_eos": True}, **COUNT
        )
        begun = next(iter(long))
        aliases.deploy("support", "demo/chat/bbb")
        until("demo/chat/bbb")
        rest = list(long)
        assert {chunk.system_fingerprint for chunk in rest} == {begun.system_fingerprint} == {"demo/chat/aaa"}
        assert rest[-1].choices[0].finish_reason == "length"
        aliases.deploy("support", "demo/chat/gone")
        time.sleep(0.4)
        assert client.models.retrieve("support").model_dump()["artifact"] == "demo/chat/bbb"
        aliases.rollback("support")
        aliases.rollback("support")
        until("demo/chat/aaa")
        ending.set()
        found = [pair for asker in askers for pair in asker.result(timeout=30)]
        deadline = time.monotonic() + 10
        while old.is_alive():
            assert time.monotonic() < deadline, "the old engine does not end"
            time.sleep(0.05)
        assert httpx2.get(f"{one.url}/ready").status_code == 200
    by_artifact: dict[str, set[str]] = {}
    for artifact, text in found:
        by_artifact.setdefault(artifact, set()).add(text)
    assert set(by_artifact) == set(known)
    assert by_artifact["demo/chat/aaa"] == {KNOWN["Count."]}
    assert len(by_artifact["demo/chat/bbb"]) == 1
    assert by_artifact["demo/chat/bbb"] != {KNOWN["Count."]}
