"""The load of benchmarks.serve: clients that stream completions over loopback, a connection each.

Imports nothing but the standard library. Arguments: a folder with requests, the service's address, the
model's name, the clients.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from threading import local
from urllib.parse import urlsplit

from benchmarks.workers.traffic import Asked, Told, serve_run

TIMEOUT_SECONDS = 120
DONE = b"[DONE]"
HEADERS = {"Content-Type": "application/json"}


class Load:
    """So many clients, each of which asks its next question when it is answered."""

    def __init__(self, address: str, model: str, clients: int) -> None:
        self.host, self.model = urlsplit(address).netloc, model
        self.clients, self.own = ThreadPoolExecutor(clients), local()

    def run(self, asked: Sequence[Asked]) -> list[Told]:
        """See `traffic.Run`. Ids are not told over HTTP; tokens are counted by the service."""
        return list(self.clients.map(self._ask, asked))

    def _ask(self, one: Asked) -> Told:
        if not hasattr(self.own, "connection"):
            self.own.connection = HTTPConnection(self.host, timeout=TIMEOUT_SECONDS)
        connection: HTTPConnection = self.own.connection
        body = json.dumps(
            {
                "model": self.model, "prompt": one.prompt, "max_tokens": one.new_tokens, "temperature": 0,
                "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True},
            }
        )  # fmt: skip
        told, events, sent = Told(), list[bytes](), time.perf_counter()
        connection.request("POST", "/v1/completions", body, HEADERS)
        with connection.getresponse() as reply:
            if reply.status != 200:
                raise RuntimeError(f"{reply.status}: {reply.read()[:500]!r}")
            for line in reply:
                if line.startswith(b"data: "):
                    events.append(line[6:].strip())
                    if len(events) == 1:
                        told.first = time.perf_counter() - sent
        *texts, usage, done = events
        if done != DONE:
            raise RuntimeError(f"the answer broke off after {len(events)} events")
        told.count = json.loads(usage)["usage"]["completion_tokens"]
        told.text = "".join(json.loads(event)["choices"][0]["text"] for event in texts)
        return told


if __name__ == "__main__":
    serve_run(Path(sys.argv[1]), Load(sys.argv[2], sys.argv[3], int(sys.argv[4])).run)
