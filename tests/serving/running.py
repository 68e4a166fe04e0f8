"""Services of tests: what is served, and a server in a thread of its own on loopback."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from openai import OpenAI

from hanji.contracts.protocols import Head
from hanji.serving import server
from hanji.serving.app import create_app
from hanji.serving.models import Loaded, Settings, start
from hanji.serving.service import Service
from hanji.tokenizers.tokenizer import Tokenizer

KNOWN = {
    "What is hanji?": "Paper made by hand; 한지는 닥나무 종이입니다 📄.",
    "Count.": "one two three four five six seven",
    "Weather in Seoul?": '<tool_call>{"name": "weather", "arguments": {"city": "서울"}}</tool_call>',
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@dataclass(frozen=True)
class Trained:
    """What the services of these tests serve."""

    model: Any
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Running:
    """A service that listens.

    Attributes:
        url: without `/v1`.
    """

    service: Service
    url: str
    loop: asyncio.AbstractEventLoop

    def client(self, key: str = "none") -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30)

    def backend(self, name: str = "tiny") -> Any:
        return next(served.backend for served in self.service.models.all if served.name == name)


@contextmanager
def running(service: Service, prepare: Callable[[FastAPI], None] = lambda _: None) -> Iterator[Running]:
    """Serves in a thread of its own, as `hanji serve` does; `prepare` adds to the application."""
    bound = server.listen("127.0.0.1", 0)
    app = create_app(service)
    prepare(app)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=5
    )
    ready, loops = threading.Event(), []

    def begun() -> None:
        loops.append(asyncio.get_running_loop())
        ready.set()

    own = server._Server(config, begun)
    thread = threading.Thread(target=own.run, args=([bound],))
    thread.start()
    try:
        assert ready.wait(60), "the service did not start"
        yield Running(service, f"http://127.0.0.1:{bound.getsockname()[1]}", loops[0])
    finally:
        own.should_exit = True
        thread.join()
        bound.close()


def starting(model: Any, tokenizer: Tokenizer, head: Head = "causal", **settings: Any) -> Any:
    """How a copy of a model comes to answer; `queue` beside its settings."""
    queue = settings.pop("queue", 64)
    name = settings.pop("name", "tiny")
    loaded = Loaded(deepcopy(model), tokenizer, head, f"test/{name}/0000")
    return partial(start, name, loaded, Settings(**settings), queue)
