"""Clients that leave, models that fail, more requests than there is room for: nobody else is harmed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
import torch

from hanji.serving.limits import Limits
from hanji.serving.models import Models
from hanji.serving.service import Service
from serving.running import KNOWN, Running, Trained, running, starting

LONG = {"extra_body": {"ignore_eos": True}, "max_tokens": 120, "temperature": 0}
COUNT = [{"role": "user", "content": "Count."}]


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become so in time"
        time.sleep(0.01)


def service(trained: Trained, limits: Limits | None = None, **settings: Any) -> Service:
    begin = starting(trained.model, trained.tokenizer, **settings)
    return Service(Models({"tiny": begin}), limits or Limits())


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(trained: Trained, stream: bool) -> None:
    with running(service(trained, slots=1)) as one:
        engine = one.backend().engine
        body = {"model": "tiny", "messages": COUNT, "max_tokens": 480, "ignore_eos": True, "stream": stream}
        raw = json.dumps(body).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(raw)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(one.url.rpartition(":")[2]))) as leaving:
            leaving.sendall(head.encode() + raw)
            until(lambda: any(handle.answer.ids for handle in list(engine.running.values())))
            (handle,) = engine.running.values()
        until(lambda: handle.cancelled)
        written = len(handle.answer.ids)
        until(lambda: not engine.running)
        assert len(handle.answer.ids) <= written + 2  # the step on its way, and the one that saw it
        assert handle.answer.finish_reason == "cancelled"
        answer = one.client().chat.completions.create(model="tiny", messages=COUNT, temperature=0)
        assert answer.choices[0].message.content == KNOWN["Count."]


def test_values_that_are_not_finite_are_a_500_and_harm_no_other(trained: Trained) -> None:
    with running(service(trained, slots=4)) as one:
        client = one.client()
        model = one.backend().engine.model
        rows = model.get_input_embeddings().weight
        token = trained.tokenizer.encode_texts(["Z"])[0].tolist()[0]
        with torch.no_grad():
            rows[token] = float("nan")
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as failed:
                client.chat.completions.create(
                    model="tiny", messages=[{"role": "user", "content": "Z"}], stream=stream
                )
            assert failed.value.code == "model_failed"
        answer = client.chat.completions.create(model="tiny", messages=COUNT, temperature=0)
        assert answer.choices[0].message.content == KNOWN["Count."]
        assert 'hanji_errors_total{code="500"} 2.0' in httpx2.get(f"{one.url}/metrics").text


def test_an_exception_in_a_step_fails_what_was_running_and_no_more(trained: Trained) -> None:
    with running(service(trained, slots=2)) as one, ThreadPoolExecutor(6) as pool:
        client, engine = one.client(), one.backend().engine
        step, broken = engine.step, threading.Event()

        def breaking() -> bool:
            if not broken.is_set() and len(engine.running) == 2 and len(engine.waiting) == 4:
                broken.set()
                raise RuntimeError("a kernel fails")
            return step()

        engine.step = breaking
        answers = [
            pool.submit(client.chat.completions.create, model="tiny", messages=COUNT, **LONG)
            for _ in range(6)
        ]
        problems = [answer.exception(timeout=60) for answer in answers]
        assert broken.is_set()
        assert sorted(type(problem).__name__ for problem in problems) == sorted(
            ["InternalServerError"] * 2 + ["NoneType"] * 4
        )
        assert httpx2.get(f"{one.url}/health").status_code == 200


def test_a_failure_midway_ends_the_stream_with_an_error(trained: Trained) -> None:
    with running(service(trained, slots=1)) as one:
        engine, broken = one.backend().engine, threading.Event()
        step = engine.step

        def breaking() -> bool:
            if not broken.is_set() and any(len(handle.answer.ids) > 5 for handle in engine.running.values()):
                broken.set()
                raise RuntimeError("a kernel fails")
            return step()

        engine.step = breaking
        stream = one.client().chat.completions.create(model="tiny", messages=COUNT, stream=True, **LONG)
        with pytest.raises(openai.APIError, match="failed to answer"):
            assert len(list(stream)) < 10


def test_an_engine_that_always_fails_is_not_healthy(trained: Trained) -> None:
    with running(service(trained, slots=1)) as one:

        def failing() -> bool:
            raise RuntimeError("the device is lost")

        one.backend().engine.step = failing
        for _ in range(2):
            with pytest.raises(openai.APIStatusError) as failed:
                one.client().chat.completions.create(model="tiny", messages=COUNT)
            assert failed.value.status_code in (500, 503)
        until(lambda: httpx2.get(f"{one.url}/health").status_code == 503)
        assert httpx2.get(f"{one.url}/ready").status_code == 503


def test_a_burst_of_ten_times_the_queue(trained: Trained) -> None:
    limits = Limits(queue=8)
    with running(service(trained, limits, slots=2, queue=8)) as one, ThreadPoolExecutor(80) as pool:
        client = one.client()

        def ask(number: int) -> str:
            question = "Count." if number % 2 else "What is hanji?"
            messages: Any = [{"role": "user", "content": question}]
            try:
                answer = client.chat.completions.create(
                    model="tiny", messages=messages, temperature=0, stream=number % 3 == 0
                )
            except openai.RateLimitError as busy:
                assert int(busy.response.headers["Retry-After"]) >= 1
                assert busy.code == "queue_full"
                return "busy"
            if number % 3 == 0:
                text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
            else:
                text = answer.choices[0].message.content
            return "right" if text == KNOWN[question] else f"wrong: {text}"

        found = Counter(pool.map(ask, range(80)))
        assert set(found) == {"busy", "right"}
        assert found["right"] >= 10
        assert found["busy"] >= 1
        load = one.backend().load()
        assert (load.running, load.waiting) == (0, 0)


def test_an_answer_that_takes_too_long(trained: Trained) -> None:
    with running(service(trained, Limits(seconds=0.3), slots=1)) as one:
        engine = one.backend().engine
        step = engine.step
        engine.step = lambda: (time.sleep(0.05), step())[1]
        with pytest.raises(openai.APIStatusError) as late:
            one.client().chat.completions.create(model="tiny", messages=COUNT, **LONG)
        assert (late.value.status_code, late.value.code) == (504, "deadline_exceeded")
        until(lambda: not engine.running)


def test_what_is_on_its_way_ends_when_the_service_does(trained: Trained) -> None:
    texts = []
    with ThreadPoolExecutor(6) as pool:
        with running(service(trained, slots=2)) as one:
            engine, client = one.backend().engine, one.client()
            answers = [
                pool.submit(client.chat.completions.create, model="tiny", messages=COUNT, temperature=0)
                for _ in range(6)
            ]
            until(lambda: len(engine.running) + len(engine.waiting) >= 5)
        texts = [answer.result(timeout=30).choices[0].message.content for answer in answers]
    assert texts == [KNOWN["Count."]] * 6


def test_a_thousand_idle_connections(tiny: Running) -> None:
    port = int(tiny.url.rpartition(":")[2])
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(1000)]
    try:
        answer = tiny.client().chat.completions.create(model="tiny", messages=COUNT, temperature=0)
        assert answer.choices[0].message.content == KNOWN["Count."]
    finally:
        for connection in idle:
            connection.close()
