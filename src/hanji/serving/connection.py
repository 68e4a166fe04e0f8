"""What happens on a connection while an answer is made: bodies come in, events go out, clients leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hanji.serving.errors import ApiError

Result = TypeVar("Result")
DONE = b"data: [DONE]\n\n"


class ClientGone(Exception):
    """Nobody waits for the answer any longer."""


async def body_of(request: Request) -> bytes:
    """The whole body.

    Raises:
        ApiError: it is not called JSON: what a page in a browser may send anywhere is not taken.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise ApiError(415, "Send JSON, with the header `Content-Type: application/json`")
    return b"".join([part async for part in request.stream()])


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled when the client leaves.

    Raises:
        ClientGone: it left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def event(content: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + to_json(content) + b"\n\n"


class Last(bytes):
    """What a stream of events ends with: sent together with its end, as each sending has its price."""


class Events(Response):
    """Server-sent events, the last of which says that there are no more. The first is awaited before
    anything is sent, so that an error has its status.

    Args:
        events: closed at the end, whatever the end is. The last may be a `Last`.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._events = events
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends them."""
        with suppress(ClientGone):
            await unless_gone(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        try:
            try:
                first = await anext(self._events)
            except ApiError as error:
                await error.response()({"type": "http"}, _nothing, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            part = first
            try:
                while not isinstance(part, Last):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                    part = await anext(self._events, Last())
                end = part + DONE
            except ApiError as error:
                end = event(error.body())
            await send({"type": "http.response.body", "body": end})
        finally:
            await self._events.aclose()


async def _nothing() -> Any:
    return {"type": "http.disconnect"}
