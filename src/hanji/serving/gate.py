"""Before anything else: who asks, by which name of the host, how much, how often.

It is plain ASGI, so that it sees all of an answer, streams included.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hanji.serving.errors import ApiError, busy
from hanji.serving.service import Service
from hanji.storage.database import StorageError
from hanji.storage.keys import ApiKey

_MINUTE: Final = 60.0
_GUARDED: Final = ("/v1", "/metrics")


class Rates:
    """What each key has asked for in the last minute, and now."""

    def __init__(self) -> None:
        self._moments: dict[int, deque[float]] = defaultdict(deque)
        self._running: dict[int, int] = defaultdict(int)

    @contextmanager
    def counted(self, key: ApiKey) -> Iterator[None]:
        """A request of this key runs.

        Raises:
            ApiError: more than it may have (429).
        """
        moments, now = self._moments[key.id], time.monotonic()
        while moments and now - moments[0] >= _MINUTE:
            moments.popleft()
        if key.concurrent is not None and self._running[key.id] >= key.concurrent:
            raise busy(f"This key may have {key.concurrent} requests at once")
        if key.requests_per_minute is not None and len(moments) >= key.requests_per_minute:
            wait = max(1, round(_MINUTE - (now - moments[0]) + 0.5))
            raise busy(f"This key may have {key.requests_per_minute} requests a minute", wait)
        if key.requests_per_minute is not None:
            moments.append(now)
        self._running[key.id] += 1
        try:
            yield
        finally:
            self._running[key.id] -= 1


class Gate:
    """Lets requests through to `app`, or answers them itself."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._rates = Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500
        scope["hanji.started"] = started

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._admit(scope, self._limited(receive), noting)
        except ApiError as error:
            await error.response()(scope, receive, noting)
        finally:
            endpoint = getattr(scope.get("route"), "path", "other")
            self._service.metrics.answered(endpoint, status, time.monotonic() - started)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        said = headers.get("content-length", "")
        if said.isdigit() and int(said) > self._service.limits.body_bytes:
            raise _too_large(self._service.limits.body_bytes)
        path = scope["path"]
        guarded = any(path == start or path.startswith(f"{start}/") for start in _GUARDED)
        key = await self._key(headers) if guarded else None
        scope["hanji.key"] = key
        if key is None:
            await self._app(scope, receive, send)
        else:
            with self._rates.counted(key):
                await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        """A page that lets its name lead here would be let in otherwise, where nobody is asked for a key."""
        hosts = self._service.hosts
        host = headers.get("host", "")
        name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
        if hosts is not None and name.lower() not in hosts:
            raise ApiError(
                421, "This service is not called so; allow the name: hanji serve --allow-host NAME",
                code="unknown_host",
            )  # fmt: skip

    async def _key(self, headers: Headers) -> ApiKey | None:
        keys = self._service.keys
        if keys is None:
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise ApiError(
                401, "An API key is wanted: send the header `Authorization: Bearer KEY`",
                code="missing_api_key",
            )  # fmt: skip
        try:
            key = await asyncio.to_thread(keys.check, token.strip())
        except StorageError:
            raise ApiError(503, "Keys cannot be checked now", code="storage_failed") from None
        if key is None:
            raise ApiError(401, "This API key is wrong or revoked", code="invalid_api_key")
        return key

    def _limited(self, receive: Receive) -> Receive:
        left = self._service.limits.body_bytes

        async def counting() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _too_large(self._service.limits.body_bytes)
            return message

        return counting


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"The body is too large: at most {limit} bytes are taken", code="body_too_large")
