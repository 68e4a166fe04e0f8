"""llama.cpp's server in this process: how it is started, and how one question is asked, event by event."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from hanji.contracts.errors import ConfigError, ModelError

CACHE_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0")
"""How keys and values may be kept."""
SAID_OTHERWISE: Final[Mapping[str, str]] = {
    "model": "NAME", "n_parallel": "--slots", "n_ctx": "--context", "cache_ram_mib": "--cache-gib",
}  # fmt: skip
OPTIONS: Final = (
    "cache_type_k", "cache_type_v", "flash_attention", "n_threads", "n_threads_batch", "n_gpu_layers",
    "main_gpu", "n_batch", "n_ubatch", "swa_full", "rope_freq_base", "rope_freq_scale", "cache_prompt",
    "no_kv_offload", "warmup",
)  # fmt: skip


class LlamaCppServer:
    """The server, on the loopback interface, behind a key that only this process knows.

    Args:
        context: tokens of a slot.
        options: some of `OPTIONS`.

    Raises:
        ConfigError: llama.cpp is not installed, or an option's value is none.
        ModelError: the file cannot be served.
    """

    def __init__(self, file: str, slots: int, context: int, options: Mapping[str, Any]) -> None:
        xllamacpp = installed()
        self._key = secrets.token_hex(32)
        params = xllamacpp.CommonParams()
        params.model.path = file
        params.n_parallel, params.n_ctx = slots, slots * context
        params.api_keys = [self._key]
        params.ui = params.endpoint_slots = False
        params.ctx_shift = params.fit_params = False
        params.n_threads_http = 2 * slots + 4
        params.verbosity = 0
        if threads := os.environ.get("OMP_NUM_THREADS", ""):  # its threads wait in loops, and slow each other
            params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
        for name, value in options.items():
            _set(xllamacpp, params, name, value)
        try:
            self._server = xllamacpp.Server(params)
        except Exception as error:
            raise ModelError(
                "llama.cpp cannot serve this file", where=file, hint=str(error).splitlines()[0][:300]
            ) from error
        where = urlsplit(self._server.listening_address)
        self._host, self._port = str(where.hostname), int(where.port or 0)

    def tokens_of_a_slot(self) -> int:
        """Of a prompt and its answer; llama.cpp rounds what it is told."""
        connection = self.connect()
        try:
            connection.request("GET", "/props", headers=self._headers())
            about = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return int(about["default_generation_settings"]["n_ctx"])

    def connect(self) -> http.client.HTTPConnection:
        """A connection for one question."""
        return http.client.HTTPConnection(self._host, self._port)

    def ask(
        self, connection: http.client.HTTPConnection, question: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """The answer, event by event.

        Raises:
            Refused: it does not take the question.
            OSError: the connection ended, from here (`hang_up`) or from there.
        """
        connection.request("POST", "/completion", json.dumps(question), self._headers())
        response = connection.getresponse()
        if response.status != 200:
            raise Refused(response.status, response.read())
        for line in response:
            kind, _, content = line.partition(b": ")
            if kind == b"error":
                raise Refused(500, content)
            if kind == b"data":
                event = json.loads(content)
                if "error" in event:
                    raise Refused(500, content)
                yield event

    def close(self) -> None:
        """Ends it."""
        del self._server

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}


class Refused(Exception):
    """What llama.cpp says to a question that it does not answer."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        try:
            said = json.loads(body)
            said = said.get("error", said)
            self.message = str(said.get("message", said))
        except (ValueError, AttributeError):
            self.message = body.decode(errors="replace")
        super().__init__(f"llama.cpp: {self.message}")


def hang_up(connection: http.client.HTTPConnection) -> None:
    """Ends a connection from another thread; llama.cpp then gives the question up."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def installed() -> Any:
    """The package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise ConfigError(
            "llama.cpp is not installed", where="--engine", value="llama.cpp",
            hint="pip install 'hanji[llama-cpp]'",
        ) from error  # fmt: skip
    return xllamacpp


@cache
def has_llguidance() -> bool:
    """Whether it was built with llguidance, as ours is; its own grammars fall short of some schemas."""
    return str(installed().json_schema_to_grammar({"type": "object"})).startswith("%llguidance")


def _set(xllamacpp: Any, params: Any, name: str, value: Any) -> None:
    try:
        if name in ("cache_type_k", "cache_type_v"):
            if value not in CACHE_TYPES:
                raise TypeError
            setattr(params, name, getattr(xllamacpp.ggml_type, f"GGML_TYPE_{value.upper()}"))
        elif name == "flash_attention":
            params.flash_attn_type = xllamacpp.llama_flash_attn_type(int(_bool(value)))
        elif name == "n_threads":
            params.cpuparams.n_threads = value
        elif name == "n_threads_batch":
            params.cpuparams_batch.n_threads = value
        else:
            setattr(params, name, _bool(value) if isinstance(getattr(params, name), bool) else value)
    except TypeError as error:
        raise ConfigError(
            "this is no value of the option", where="--engine-option", value=f"{name}={value}",
            expected=", ".join(CACHE_TYPES) if name.startswith("cache_type") else None,
        ) from error  # fmt: skip


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value
