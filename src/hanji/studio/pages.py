"""Puts the pages on an application: `/`, and below `/pages/` what they are made of.

There is no build step and no state: what is in `static/` is what a browser gets, and all that a page knows it
asks of `/v1`, with the keys and the limits of every client.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_STATIC: Final = Path(__file__).parent / "static"
_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
"""Named here, since a machine's own table of them may say otherwise."""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""A page runs no script but ours and asks nobody but this service, whatever a model writes into it."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file as it is sent.

    Attributes:
        tag: changes with the content: a browser that has it is told so, and keeps it.
    """

    content: bytes
    kind: str
    tag: str


def read_files() -> dict[str, PageFile]:
    """All files of the pages by their paths below `/pages/`: less than a megabyte, so they stay in memory."""
    found = {}
    for path in sorted(_STATIC.rglob("*")):
        if path.suffix in _KINDS:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[path.relative_to(_STATIC).as_posix()] = PageFile(content, _KINDS[path.suffix], tag)
    return found


def add_pages(app: Starlette) -> None:
    """Adds the pages to an application that has `/v1`; their routes are no part of its OpenAPI document."""
    files = read_files()

    async def chat(request: Request) -> Response:
        return _answer(request, files["chat.html"])

    async def part(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            raise HTTPException(404, "There is no such page")
        return _answer(request, files[name])

    app.router.routes += [Route("/", chat), Route("/pages/{name:path}", part)]


def _answer(request: Request, file: PageFile) -> Response:
    headers = {**HEADERS, "ETag": file.tag}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.tag in known:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.kind, headers=headers)
