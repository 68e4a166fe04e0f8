"""The application: every endpoint, what it takes, and errors in one shape."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import request_response

from hanji.contracts.errors import HanjiError
from hanji.serving.bodies.body import Body
from hanji.serving.bodies.chat import ChatBody
from hanji.serving.bodies.completion import CompletionBody
from hanji.serving.bodies.reading import (
    ClassifyBody,
    DetokenizeBody,
    EmbeddingBody,
    FeedbackBody,
    ScoreBody,
    TokenizeBody,
)
from hanji.serving.chores import doing
from hanji.serving.connection import ClientGone
from hanji.serving.endpoints import chat, completions, feedback, listing, reading, tokens
from hanji.serving.errors import ApiError, refused
from hanji.serving.gate import Gate
from hanji.serving.service import Service
from hanji.storage.database import StorageError

log = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]
_GONE: Final = 499
"""Of answers that nobody waited for; never seen by a client."""


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint: what it takes, or None, and what its answer may be besides JSON."""

    method: str
    path: str
    endpoint: Endpoint
    body: type[Body] | None = None
    also: str | None = None


ROUTES: Final = (
    Route("GET", "/v1/models", listing.list_models),
    Route("GET", "/v1/models/{name:path}", listing.show_model),
    Route("POST", "/v1/chat/completions", chat.chat_completions, ChatBody, "text/event-stream"),
    Route("POST", "/v1/completions", completions.completions, CompletionBody, "text/event-stream"),
    Route("POST", "/v1/embeddings", reading.embeddings, EmbeddingBody),
    Route("POST", "/v1/classify", reading.classify, ClassifyBody),
    Route("POST", "/v1/score", reading.score, ScoreBody),
    Route("POST", "/v1/tokenize", tokens.tokenize, TokenizeBody),
    Route("POST", "/v1/detokenize", tokens.detokenize, DetokenizeBody),
    Route("POST", "/v1/feedback", feedback.feedback, FeedbackBody),
    Route("GET", "/health", listing.health),
    Route("GET", "/ready", listing.ready),
    Route("GET", "/metrics", listing.metrics, None, "text/plain"),
)


class _Described(APIRoute):
    """A route that FastAPI describes; called as it is, for it has no arguments to be filled in."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.app = request_response(self.endpoint)


def create_app(service: Service) -> FastAPI:
    """The application of a service; it opens the models when it starts, and closes them when it ends."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if service.journal is not None:
                stack.callback(service.journal.close)
            stack.push_async_callback(service.models.close)
            await service.models.open()
            await stack.enter_async_context(doing(service.chores))
            yield

    app = FastAPI(
        title="hanji", version=version("hanji"), lifespan=life, docs_url=None, redoc_url=None,
        summary="OpenAI's API over models of this machine", servers=[{"url": "/"}],
    )  # fmt: skip
    app.router.route_class = _Described
    app.state.service = service
    service.metrics.watch(lambda: service.models.all)
    for route in ROUTES:
        app.add_api_route(
            route.path, _declared(route.endpoint), methods=[route.method], response_class=Response,
            openapi_extra=_operation(route), summary=(route.endpoint.__doc__ or "").splitlines()[0],
            responses=_responses(route),
        )  # fmt: skip
    app.add_middleware(Gate, service=service)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(HanjiError, _refused)
    app.add_exception_handler(StorageError, _storage_failed)
    app.add_exception_handler(ClientGone, _gone)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _declared(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """FastAPI reads annotations where a function was written; this one it always can."""

    async def call(request: Request) -> Response:
        return await endpoint(request)

    call.__name__, call.__doc__ = getattr(endpoint, "__name__", "call"), endpoint.__doc__
    call.__annotations__ = {"request": Request, "return": Response}
    return call


def _operation(route: Route) -> dict[str, Any]:
    if route.body is None:
        return {}
    schema = route.body.model_json_schema(ref_template="#/components/schemas/{model}")
    schema = _inlined(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Without references: a body stands by itself."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            named = definitions[schema["$ref"].rpartition("/")[2]]
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return {**_inlined(named, definitions), **rest}
        return {key: _inlined(value, definitions) for key, value in schema.items()}
    return [_inlined(item, definitions) for item in schema] if isinstance(schema, list) else schema


def _responses(route: Route) -> dict[int | str, dict[str, Any]]:
    error = {"content": {"application/json": {"schema": _ERROR}}}
    content: dict[str, Any] = {"application/json": {}, **({route.also: {}} if route.also else {})}
    return {
        200: {"description": "The answer", "content": content},
        "default": {"description": "An error", **error},
    }


_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    if error.__cause__ is not None:
        log.error("%s: %s", error.message, error.__cause__)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = ApiError(error.status_code, f"{error.detail}: {request.method} {request.url.path}").response()
    response.headers.update(error.headers or {})
    return response


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HanjiError)
    return refused(error).response()


async def _storage_failed(_: Request, error: Exception) -> Response:
    log.error("%s", error)
    return ApiError(503, "The database fails now; try again", code="storage_failed").response()


async def _gone(*_: object) -> Response:
    return Response(status_code=_GONE)


async def _unexpected(_: Request, error: Exception) -> Response:
    log.exception("unexpected", exc_info=error)
    return ApiError(500, "Something unexpected happened; the service's log says what").response()
