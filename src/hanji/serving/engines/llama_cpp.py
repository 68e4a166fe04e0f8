"""llama.cpp: one quantised file on a CPU. It draws the tokens; prompts and text are ours."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from hanji.contracts.errors import ModelError
from hanji.generation.engine import CACHE_BYTES
from hanji.generation.memory import bytes_per_token, context_of
from hanji.generation.requests import Request
from hanji.models.load import read_config
from hanji.serving.backend import Load, OnPiece, Result, Ticket
from hanji.serving.engines.engine import Elsewhere, Setup, Source, check_options, only_hanji
from hanji.serving.engines.fragments import Fragments
from hanji.serving.engines.llama_cpp_server import (
    OPTIONS,
    SAID_OTHERWISE,
    LlamaCppServer,
    Refused,
    hang_up,
    has_llguidance,
    installed,
)
from hanji.serving.engines.writing import Writing, check_queue, marked, refuse, texts_only
from hanji.serving.errors import ApiError, invalid
from hanji.serving.forms import Form, form_of
from hanji.serving.models import Loaded, Served, Start
from hanji.tokenizers.tokenizer import Tokenizer

_SAMPLERS: Final = ("penalties", "temperature", "top_k", "top_p", "min_p")
"""In our order; its bias comes before all of them."""
_COMPACT: Final = {"x-guidance": {"whitespace_flexible": False}}
"""What our own constraints say to llguidance, which llama.cpp asks too."""
_UNFINISHED: Final = 3
"""Tokens more than are wanted: those before the end of a character are told with the one that ends it."""
_CACHE: Final[Mapping[str, torch.dtype]] = {"f32": torch.float32}
"""For how much memory keys and values take; what is not named has 16 bits at most."""


def starts(source: Source, adapters: Mapping[str, Source], setup: Setup) -> dict[str, Start]:
    """See `engine.Engine`. The weights are read when the service starts."""
    installed()
    only_hanji("llama.cpp", setup)
    check_options("llama.cpp", setup.options, {**dict.fromkeys(OPTIONS), **SAID_OTHERWISE})
    for one in (source, *adapters.values()):
        if not one.place.endswith(".gguf"):
            file = f"{Path(one.name).name}.gguf"
            raise ModelError(
                "llama.cpp serves .gguf files", where=one.name,
                hint=f"hanji export {one.name} --to gguf --type q8_0 --out {file}, "
                f"then hanji serve {file} --engine llama.cpp",
            )  # fmt: skip
    return {source.name: partial(_begin, source, setup)}


def _begin(source: Source, setup: Setup, loop: asyncio.AbstractEventLoop) -> Served:
    tokenizer = Tokenizer.load(source.place)
    cache = _CACHE.get(setup.options.get("cache_type_k", ""), torch.float16)
    elsewhere = Elsewhere(read_config(source.place), cache)
    settings = setup.settings
    held = CACHE_BYTES if settings.cache_bytes is None else settings.cache_bytes
    context = context_of(elsewhere, settings.slots, settings.context, held)
    server = LlamaCppServer(source.place, settings.slots, context, setup.options)
    backend = LlamaCppBackend(server, tokenizer, elsewhere, context, settings.slots, setup.queue, loop)
    loaded = Loaded(elsewhere, tokenizer, "causal", source.artifact)
    return Served(source.name, loaded, backend, "last", "", engine="llama.cpp")


class LlamaCppTicket(Writing):
    """A request to llama.cpp; see `backend.Ticket`."""

    connection: http.client.HTTPConnection | None = None
    is_cancelled = is_running = False

    def cancel(self) -> None:
        """See `backend.Ticket`."""
        self.is_cancelled = True
        if self.connection is not None:
            hang_up(self.connection)


class LlamaCppBackend:
    """llama.cpp's server as a `Backend`: a thread for each slot reads what it writes."""

    reserved = 0

    def __init__(
        self, server: LlamaCppServer, tokenizer: Tokenizer, elsewhere: Elsewhere, context: int, slots: int,
        queue: int, loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        self._server, self._tokenizer, self._loop = server, tokenizer, loop
        self._slots, self._queue = slots, queue
        self._bytes_per_token = bytes_per_token(elsewhere)
        self._fragments = Fragments(tokenizer)
        self._flying: set[LlamaCppTicket] = set()
        self._threads = ThreadPoolExecutor(slots, "hanji-llama-cpp")
        self._closed = False
        self.context = min(context, server.tokens_of_a_slot())

    def submit(self, requests: Sequence[Request], on_piece: OnPiece) -> list[Ticket]:
        """See `Backend`.

        Raises:
            ApiError: what llama.cpp cannot do.
        """
        if self._closed:
            raise ApiError(503, "This model does not answer any longer", code="model_down")
        for request in requests:
            check(request)
        check_queue(len(self._flying), len(requests), self._slots, self._queue)
        tickets = [
            LlamaCppTicket(number, one, self._tokenizer, self.context, on_piece, self._loop)
            for number, one in enumerate(requests)
        ]
        for ticket in tickets:
            self._flying.add(ticket)
            self._threads.submit(self._write, ticket)
        return list(tickets)

    def _write(self, ticket: LlamaCppTicket) -> None:
        """One answer, in a thread of its own."""
        try:
            if not ticket.is_cancelled:
                ticket.is_running = True
                self._read(ticket)
        except Refused as error:
            form = form_of(ticket.request)
            param = None if form is None else form.param
            ticket.fail(invalid(str(error), param) if error.status == 400 else error)
        except Exception as error:
            if not ticket.is_cancelled:
                ticket.fail(error)
        finally:
            if ticket.connection is not None:
                ticket.connection.close()  # llama.cpp gives up what was not ended
            self._flying.discard(ticket)
            ticket.end("cancelled")  # unless it has come to an end

    def _read(self, ticket: LlamaCppTicket) -> None:
        ticket.connection = connection = self._server.connect()
        read = 0
        for event in self._server.ask(connection, question(ticket, self.context)):
            if ticket.is_over or ticket.is_cancelled:
                return
            if "prompt_progress" in event:
                ticket.answer.reused = int(event["prompt_progress"]["cache"])
                continue
            if event["stop"]:
                ticket.end("stop" if event["stop_type"] == "eos" else "length")
                return
            written, read = event["tokens_predicted"] - read, event["tokens_predicted"]
            for token in self._fragments.tokens(event["content"], event["tokens"][-1], written):
                ticket.take(token)

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """See `Backend`: there is nothing else that it does."""
        raise texts_only()

    def load(self) -> Load:
        """See `Backend`. What llama.cpp keeps of beginnings stays in its slots."""
        flying = list(self._flying)
        running = [one for one in flying if one.is_running]
        tokens = sum(len(one.request.prompt) + len(one.answer.ids) for one in running)
        waiting = len(flying) - len(running)
        return Load(waiting, len(running), self._slots, tokens * self._bytes_per_token, 0)

    def is_alive(self) -> bool:
        """See `Backend`. It is a part of this process."""
        return not self._closed

    def close(self) -> None:
        """See `Backend`."""
        self._closed = True
        for ticket in list(self._flying):
            ticket.fail(RuntimeError("the service ends"))
            ticket.cancel()
        self._threads.shutdown(cancel_futures=True)
        self._server.close()


def check(request: Request) -> None:
    """Refuses what llama.cpp cannot do as we mean it.

    Raises:
        ApiError: 400.
    """
    engine, sampling = "llama.cpp", request.sampling
    if request.logprobs is not None or request.prompt_logprobs is not None:
        raise refuse(engine, "logprobs", "tells no probabilities of a prompt, nor of parts of characters")
    for param, value in (
        ("presence_penalty", sampling.presence_penalty), ("frequency_penalty", sampling.frequency_penalty)
    ):  # fmt: skip
        if value:
            raise refuse(engine, param, "counts the prompt's tokens too")
    if (form := form_of(request)) is not None and not has_llguidance():
        raise refuse(engine, form.param.partition(".")[0], "is built without llguidance here")
    if sampling.repetition_penalty != 1 and sampling.logit_bias:
        raise refuse(engine, "logit_bias", "adds it before the repetition penalty, not after")


def question(ticket: LlamaCppTicket, context: int) -> dict[str, Any]:
    """A request in llama.cpp's words; what ends an answer is found here as well."""
    request, form = ticket.request, form_of(ticket.request)
    sampling = request.sampling
    return {
        "prompt": list(request.prompt), "n_predict": ticket.most + _UNFINISHED, "stream": True,
        "return_tokens": True, "return_progress": True, "samplers": list(_SAMPLERS),
        "temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p,
        "min_p": sampling.min_p, "repeat_penalty": sampling.repetition_penalty, "repeat_last_n": context,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": sampling.seed & 0x7FFF_FFFF,
        "logit_bias": [[token, bias] for token, bias in sampling.logit_bias.items()],
        "ignore_eos": ticket.ignores_eos,
        **({} if form is None else _asked(form)),
    }  # fmt: skip


def _asked(form: Form) -> dict[str, Any]:
    """A form in llama.cpp's words."""
    if form.schema is not None:
        return {"json_schema": {**form.schema, **_COMPACT}}
    return {"grammar": marked(form.lark)}
