"""vLLM: one model over many GPUs. It draws the tokens; prompts and text are ours.

Its engine runs in processes of its own; requests and tokens pass through the service's event loop.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from hanji.artifacts.models import head_in, is_added
from hanji.contracts.errors import ConfigError, ModelError
from hanji.generation.adapters.files import read_config as read_adapter_config
from hanji.generation.memory import bytes_per_token
from hanji.generation.requests import Request, TokenLogprob
from hanji.models.load import read_config
from hanji.serving.backend import Load, OnPiece, Result, Ticket
from hanji.serving.engines.engine import Elsewhere, Setup, Source, check_options, only_hanji
from hanji.serving.engines.writing import Writing, best, check_queue, marked, texts_only
from hanji.serving.errors import ApiError, invalid
from hanji.serving.forms import Form, form_of
from hanji.serving.models import Loaded, Served, Start
from hanji.tokenizers.tokenizer import Tokenizer

_SAID_OTHERWISE: Final[Mapping[str, str]] = {
    "model": "NAME", "tokenizer": "NAME", "max_num_seqs": "--slots", "max_model_len": "--context",
    "kv_cache_memory_bytes": "--cache-gib", "enable_lora": "an adapter's NAME beside its base's",
    "max_loras": "an adapter's NAME beside its base's",
    "max_lora_rank": "an adapter's NAME beside its base's",
    "generation_config": "nothing: each request says how it is answered",
    "skip_tokenizer_init": "nothing: schemas need the tokenizer",
    "logprobs_mode": "nothing: probabilities are the model's own",
    "structured_outputs_config": "nothing: schemas are kept to by llguidance, as here",
    "trust_remote_code": "nothing: no code of a model is run",
}  # fmt: skip
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""Those that vLLM makes room for."""
_CLOSING_SECONDS: Final = 2
"""Given to processes that have nothing left to do."""


def starts(source: Source, adapters: Mapping[str, Source], setup: Setup) -> dict[str, Start]:
    """See `engine.Engine`. Weights are read when the service starts; adapters are LoRAs."""
    vllm = _installed()
    only_hanji("vLLM", setup)
    known: dict[str, str | None] = {one.name: None for one in dataclasses.fields(vllm.AsyncEngineArgs)}
    check_options("vLLM", setup.options, {**known, **_SAID_OTHERWISE})
    _check(source)
    ranks = [_lora_rank(adapter) for adapter in adapters.values()]
    group = _Group(source, dict(adapters), setup, max(ranks, default=0))
    return {source.name: group.begin, **{name: partial(group.join, name) for name in adapters}}


def _installed() -> Any:
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # nothing is told to anybody
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # the service has threads: no fork
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    try:
        import vllm
    except ImportError as error:
        raise ConfigError(
            "vLLM is not installed", where="--engine", value="vllm",
            hint="it needs an environment of its own: docs/guides/deploy.md",
        ) from error  # fmt: skip
    return vllm


def _check(source: Source) -> None:
    export = f"hanji export {source.name} --to merged --out merged, then hanji serve merged --engine vllm"
    if source.place.endswith(".gguf"):
        raise ModelError(
            "a .gguf file is not served by vLLM here", where=source.place, hint="--engine llama.cpp"
        )
    if is_added(source.place):
        raise ModelError(
            "vLLM serves an adapter beside its base, or merged", where=source.name,
            hint=f"name the base too, or: {export}",
        )  # fmt: skip
    if (head := head_in(source.place)) != "causal":
        raise ModelError(
            f"vLLM only writes text here, and this model ends in a {head} head", where=source.name,
            hint="--engine hanji",
        )  # fmt: skip


def _lora_rank(adapter: Source) -> int:
    config = read_adapter_config(Path(adapter.place))
    if config.get("peft_type") != "LORA":
        raise ModelError(
            f"vLLM has no adapters of this kind: {config.get('peft_type')}", where=adapter.name,
            expected="a LoRA", hint="--engine hanji",
        )  # fmt: skip
    rank = max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])
    if rank > _RANKS[-1]:
        raise ModelError(
            "this LoRA's rank is too great for vLLM", where=adapter.name, value=rank,
            expected=f"at most {_RANKS[-1]}", hint="--engine hanji",
        )  # fmt: skip
    return next(one for one in _RANKS if one >= rank)


@dataclass(slots=True)
class _Group:
    """A model and the LoRAs over it, in one engine."""

    source: Source
    adapters: Mapping[str, Source]
    setup: Setup
    rank: int
    _backend: VllmBackend | None = field(default=None, init=False)

    def begin(self, loop: asyncio.AbstractEventLoop) -> Served:
        tokenizer = Tokenizer.load(self.source.place)
        self._backend = VllmBackend(self.source, self.adapters, self.setup, self.rank, tokenizer, loop)
        return self._served(self.source, self._backend, tokenizer)

    def join(self, name: str, loop: asyncio.AbstractEventLoop) -> Served:
        assert self._backend is not None, "the base comes first"
        adapter = self.adapters[name]
        tokenizer = Tokenizer.load(adapter.place)
        return self._served(adapter, LoraBackend(self._backend, name, tokenizer), tokenizer)

    def _served(self, source: Source, backend: VllmBackend | LoraBackend, tokenizer: Tokenizer) -> Served:
        elsewhere = Elsewhere(read_config(self.source.place))
        loaded = Loaded(elsewhere, tokenizer, "causal", source.artifact)
        return Served(source.name, loaded, backend, "last", "", engine="vllm")


class VllmTicket(Writing):
    """A request to vLLM; see `backend.Ticket`."""

    task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """See `backend.Ticket`."""
        if self.task is not None:
            self._loop.call_soon_threadsafe(self.task.cancel)


class VllmBackend:
    """vLLM's engine as a `Backend`.

    Args:
        rank: room for the ranks of LoRAs; 0: there are none.
    """

    reserved = 0

    def __init__(
        self, source: Source, adapters: Mapping[str, Source], setup: Setup, rank: int, tokenizer: Tokenizer,
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        from vllm.lora.request import LoRARequest
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = _arguments(source, len(adapters), setup, rank)
        self._engine: Any = AsyncLLM.from_engine_args(arguments)
        self._loras = {
            name: LoRARequest(name, number, str(Path(adapter.place).resolve()))
            for number, (name, adapter) in enumerate(adapters.items(), start=1)
        }
        self._tokenizer, self._loop = tokenizer, loop
        self._slots, self._queue = setup.settings.slots, setup.queue
        self._flying: set[VllmTicket] = set()
        self._closed = False
        self.context = int(self._engine.model_config.max_model_len)
        dtype = self._engine.model_config.dtype
        self._bytes_per_token = bytes_per_token(Elsewhere(read_config(source.place), dtype))

    def submit(
        self, requests: Sequence[Request], on_piece: OnPiece, *, adapter: str | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> list[Ticket]:  # fmt: skip
        """See `Backend`."""
        if not self.is_alive():
            raise ApiError(503, "This model does not answer any longer", code="model_down")
        check_queue(len(self._flying), len(requests), self._slots, self._queue)
        tickets = [
            VllmTicket(number, one, tokenizer or self._tokenizer, self.context, on_piece, self._loop)
            for number, one in enumerate(requests)
        ]
        for ticket in tickets:
            self._flying.add(ticket)
            ticket.task = self._loop.create_task(self._write(ticket, self._loras.get(adapter or "")))
            ticket.task.add_done_callback(partial(self._landed, ticket))
        return list(tickets)

    async def _write(self, ticket: VllmTicket, lora: Any) -> None:
        try:
            prompt = {"type": "token", "prompt_token_ids": list(ticket.request.prompt)}
            name = uuid.uuid4().hex
            outputs = self._engine.generate(prompt, _parameters(ticket), name, lora_request=lora)
            try:
                async for output in outputs:
                    _take(ticket, output)
                    if ticket.is_over:
                        break
            finally:
                await outputs.aclose()  # ends it in the engine too
        except Exception as error:
            ticket.fail(_told(ticket, error))

    def _landed(self, ticket: VllmTicket, _: object) -> None:
        self._flying.discard(ticket)
        ticket.end("cancelled")  # unless it has come to an end

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """See `Backend`: there is nothing else that it does."""
        raise texts_only()

    def load(self) -> Load:
        """See `Backend`. What vLLM keeps of beginnings is not told by it."""
        flying, slots = list(self._flying), self._slots
        tokens = sum(len(one.request.prompt) + len(one.answer.ids) for one in flying if one.answer.ids)
        running = min(len(flying), slots)
        return Load(len(flying) - running, running, slots, tokens * self._bytes_per_token, 0)

    def is_alive(self) -> bool:
        """See `Backend`."""
        return not self._closed and not self._engine.errored

    def close(self) -> None:
        """See `Backend`."""
        self._closed = True
        for ticket in list(self._flying):
            ticket.fail(RuntimeError("the service ends"))
            ticket.cancel()
        self._engine.shutdown(timeout=_CLOSING_SECONDS)
        del self._engine  # its own end needs an interpreter that has not ended yet


class LoraBackend:
    """One LoRA in the engine of its base; see `backend.Backend`."""

    reserved = 0

    def __init__(self, base: VllmBackend, name: str, tokenizer: Tokenizer) -> None:
        self._base, self._name, self._tokenizer = base, name, tokenizer
        self.context = base.context

    def submit(self, requests: Sequence[Request], on_piece: OnPiece) -> list[Ticket]:
        """See `Backend`."""
        return self._base.submit(requests, on_piece, adapter=self._name, tokenizer=self._tokenizer)

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """See `Backend`."""
        return self._base.call(work)

    def load(self) -> Load:
        """Nothing of its own: the base tells the load of both."""
        return Load(0, 0, self._base.load().slots, 0, 0)

    def is_alive(self) -> bool:
        """See `Backend`."""
        return self._base.is_alive()

    def close(self) -> None:
        """Nothing: the base ends itself."""


def _arguments(source: Source, adapters: int, setup: Setup, rank: int) -> Any:
    """vLLM's own, from ours; `--engine-option` has the last word.

    On a CPU it computes in fp32 as we do, and compiles nothing; on a GPU in bf16.
    """
    from vllm import AsyncEngineArgs
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    arguments: dict[str, Any] = {
        "model": source.place, "tokenizer": source.place, "generation_config": "vllm",
        "dtype": "float32" if on_cpu else "bfloat16", "enforce_eager": on_cpu,
        "max_num_seqs": setup.settings.slots, "max_model_len": setup.settings.context,
        "disable_log_stats": True, "trust_remote_code": False,
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
    }  # fmt: skip
    if setup.settings.cache_bytes is not None:
        arguments["kv_cache_memory_bytes"] = setup.settings.cache_bytes
    if adapters:
        arguments |= {"enable_lora": True, "max_loras": adapters, "max_lora_rank": rank}
    try:
        return AsyncEngineArgs(**{**arguments, **setup.options})
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "vLLM does not take these options", where="--engine-option", hint=str(error).splitlines()[0][:300]
        ) from error


def _parameters(ticket: VllmTicket) -> Any:
    """A request in vLLM's words. What ends an answer is said by us alone, its stop strings are found here."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    request, form = ticket.request, form_of(ticket.request)
    sampling = request.sampling
    return SamplingParams(
        temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p, min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty, presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty, logit_bias=dict(sampling.logit_bias) or None,
        seed=sampling.seed & (2**63 - 1), max_tokens=ticket.most, stop_token_ids=list(ticket.ending),
        ignore_eos=True, logprobs=request.logprobs, prompt_logprobs=request.prompt_logprobs,
        detokenize=False, output_kind=RequestOutputKind.DELTA,
        structured_outputs=None if form is None else _structured(form),
    )  # fmt: skip


def _structured(form: Form) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    if form.schema is not None:
        return StructuredOutputsParams(json=dict(form.schema))
    return StructuredOutputsParams(grammar=marked(form.lark))


def _take(ticket: VllmTicket, output: Any) -> None:
    """What has come of an answer since the last time."""
    answer, request = ticket.answer, ticket.request
    if output.prompt_logprobs and not answer.prompt_logprobs:
        following = list(request.prompt)[1:]
        answer.prompt_logprobs = [
            _logprob(token, told, request.prompt_logprobs or 0)
            for token, told in zip(following, output.prompt_logprobs[1:], strict=True)
        ]
    answer.reused = output.num_cached_tokens or 0
    (written,) = output.outputs
    tokens = list(written.token_ids)
    probabilities = written.logprobs or [None] * len(tokens)
    for token, told in zip(tokens, probabilities, strict=True):
        ticket.take(token, () if told is None else (_logprob(token, told, request.logprobs or 0),))
    if written.finish_reason is not None:
        if written.finish_reason not in ("stop", "length"):
            ticket.fail(ModelError(f"vLLM ended an answer early: {written.finish_reason}"))
        ticket.end("stop" if written.finish_reason == "stop" else "length")


def _logprob(token: int, told: Mapping[int, Any], most: int) -> TokenLogprob:
    top = best([(one, each.logprob) for one, each in told.items()], most)
    return TokenLogprob(token, told[token].logprob, top)


def _told(ticket: VllmTicket, error: Exception) -> Exception:
    """What it says of a request is told to who asked; the rest is for the log."""
    if not isinstance(error, ValueError):
        return error
    form = form_of(ticket.request)
    said = str(error).splitlines()[0][:300]
    return invalid(f"vLLM refuses this request: {said}", None if form is None else form.param)
