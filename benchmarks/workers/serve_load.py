"""The load of benchmarks.serve: clients that stream completions over loopback, a connection each.

One thread reads them all, and decodes what came when all is there: what the load computes, the service on the
same cores does not. Imports nothing but the standard library. Arguments: a folder with requests, the
service's address, the model's name, the clients.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPResponse
from io import BytesIO
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import NoReturn
from urllib.parse import urlsplit

from benchmarks.workers.traffic import Asked, Told, in_flight, serve_run

TIMEOUT_SECONDS = 120
RECEIVED = 2**16
EVENT = b"data: "
DONE = b"[DONE]"
OK = b" 200"
LAST_CHUNK = b"\r\n0\r\n\r\n"
"""What ends an answer on a connection that stays open; JSON writes line ends otherwise."""


@dataclass(slots=True)
class Reply:
    """What came of an answer, as it came.

    Attributes:
        first: seconds until its first event.
    """

    number: int
    sent: float = field(default_factory=time.perf_counter)
    first: float = -1.0
    raw: bytearray = field(default_factory=bytearray)

    def take(self, received: bytes) -> bool:
        """The next bytes; whether they were the last, or are of an error, which ends the run."""
        self.raw += received
        if self.first < 0 and EVENT in self.raw:
            self.first = time.perf_counter() - self.sent
        failed = len(self.raw) >= 12 and self.raw[8:12] != OK
        return failed or not received or self.raw.endswith(LAST_CHUNK)

    def told(self) -> Told:
        """What it says."""
        with HTTPResponse(_Received(bytes(self.raw))) as reply:  # type: ignore[arg-type]
            reply.begin()
            if reply.status != 200:
                raise RuntimeError(f"an error: {bytes(self.raw[:1000])!r}")
            body = reply.read()
        events = [line[len(EVENT) :] for line in body.splitlines() if line.startswith(EVENT)]
        if events[-1:] != [DONE]:
            raise RuntimeError(f"the answer broke off after {len(events)} events")
        *texts, usage = [json.loads(event) for event in events[:-1]]
        text = "".join(event["choices"][0]["text"] for event in texts)
        return Told(first=self.first, text=text, count=usage["usage"]["completion_tokens"])


class Load:
    """So many clients, each of which asks its next question when it is answered."""

    def __init__(self, address: str, model: str, clients: int) -> None:
        self.place, self.model, self.clients = urlsplit(address), model, clients

    def run(self, asked: Sequence[Asked]) -> list[Told]:
        """See `traffic.Run`. Ids are not told over HTTP; tokens are counted by the service."""
        free, replies = list[socket.socket](), dict[int, Reply]()
        with DefaultSelector() as under_way:

            def send(number: int) -> None:
                connection = free.pop() if free else self._connect()
                request = self._request(asked[number])
                replies[number] = Reply(number)
                connection.sendall(request)
                under_way.register(connection, EVENT_READ, replies[number])

            def wait() -> list[int]:
                over = list[int]()
                for key, _ in under_way.select(TIMEOUT_SECONDS) or _silent():
                    connection, reply = key.fileobj, key.data
                    assert isinstance(connection, socket.socket)
                    received = connection.recv(RECEIVED)
                    if reply.take(received):
                        under_way.unregister(connection)
                        over.append(reply.number)
                        if received:
                            free.append(connection)
                        else:
                            connection.close()
                return over

            in_flight(asked, self.clients, send, wait)
        for connection in free:
            connection.close()
        return [replies[number].told() for number in range(len(asked))]

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self.place.hostname, self.place.port), TIMEOUT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _request(self, one: Asked) -> bytes:
        body = json.dumps(
            {
                "model": self.model, "prompt": one.prompt, "max_tokens": one.new_tokens, "temperature": 0,
                "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True},
            }
        ).encode()  # fmt: skip
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {self.place.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class _Received:
    """A socket, to `HTTPResponse`, from which all has come."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, _: str) -> BytesIO:
        return BytesIO(self._raw)


def _silent() -> NoReturn:
    raise RuntimeError(f"nothing came for {TIMEOUT_SECONDS} seconds")


if __name__ == "__main__":
    serve_run(Path(sys.argv[1]), Load(sys.argv[2], sys.argv[3], int(sys.argv[4])).run)
