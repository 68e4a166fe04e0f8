"""`/v1/models`, and whether the service lives, is ready, and how it does."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hanji.serving.service import Call


async def list_models(request: Request) -> Response:
    """The models that can be asked."""
    models = Call.of(request).service.models
    return JSONResponse({"object": "list", "data": [served.card() for served in models.all]})


async def show_model(request: Request) -> Response:
    """One of them; its name may have slashes."""
    with Call.of(request).service.models.use(request.path_params["name"]) as served:
        return JSONResponse(served.card())


async def health(request: Request) -> Response:
    """Whether the process lives."""
    alive = all(served.backend.is_alive() for served in Call.of(request).service.models.all)
    return JSONResponse({"status": "ok" if alive else "failed"}, 200 if alive else 503)


async def ready(request: Request) -> Response:
    """Whether every model answers."""
    is_ready = Call.of(request).service.models.are_ready
    return JSONResponse({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)


async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    text = Call.of(request).service.metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
