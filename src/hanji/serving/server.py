"""Serving an application: on an address, until it is told to end, and then to the end of what it began."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack

import uvicorn
from fastapi import FastAPI

from hanji.contracts.errors import ConfigError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound; port 0 takes a free one.

    Raises:
        ConfigError: the address is not here, or somebody has it.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM
        )[0]
        with ExitStack() as failing:
            bound = failing.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            failing.pop_all()
    except OSError as error:
        raise ConfigError(
            "This address cannot be served on", where="--host, --port", value=f"{host}:{port}",
            expected=error.strerror or str(error), hint="another --port; 0 takes a free one",
        ) from None  # fmt: skip
    return bound


def serve(app: FastAPI, bound: socket.socket, drain_seconds: float, on_ready: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT; then takes no more, and ends what it began, within `drain_seconds`."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=max(1, round(drain_seconds)),
        server_header=False, lifespan="on", ws="none", timeout_keep_alive=75, backlog=2048,
    )  # fmt: skip
    server = _Server(config, on_ready)
    before = {sign: signal.signal(sign, lambda *_: None) for sign in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[bound])
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
        bound.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Says when it answers."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()
