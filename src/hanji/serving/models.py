"""The models of a service: what each can do, who uses it now, and how one takes another's place."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from hanji.contracts.errors import ConfigError, HanjiError
from hanji.contracts.protocols import Head
from hanji.generation.engine import CACHE_BYTES, PACKED_BYTES, SLOTS, Engine
from hanji.serving.backend import Backend
from hanji.serving.errors import ApiError, unknown_model
from hanji.serving.own_thread import in_own_thread
from hanji.serving.reading_thread import ReadingThread
from hanji.serving.runner import Runner
from hanji.tokenizers.tokenizer import Tokenizer

log = logging.getLogger(__name__)

Pooling = Literal["mean", "cls", "last"]
POOLINGS: Final[tuple[Pooling, ...]] = ("mean", "cls", "last")
Task = Literal["chat", "completion", "embedding", "classify", "score"]
_NOT_OFFERED: Final[Mapping[Task, str]] = {
    "chat": "has no chat template, or writes no text; try /v1/completions",
    "completion": "writes no text",
    "embedding": "gives no embeddings: it is a classifier, an adapter that shares its base, or served by "
    "another engine than hanji's",
    "classify": "is no classifier",
    "score": "is no reward model",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory.

    Attributes:
        model: of transformers; `engines.engine.Elsewhere` where another engine holds the weights.
        artifact: where it came from, for its card: `recipe/stage/fingerprint`, or a name.
    """

    model: Any
    tokenizer: Tokenizer
    head: Head
    artifact: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How models are served.

    Attributes:
        slots: answers at a time. `context`: tokens of a prompt and its answer, None: what the model reads and
            the memory holds. `cache_bytes`: memory of keys and values; None: the engine's own choice.
        pooling: how an embedding comes from a text's tokens; None: `mean` for encoders, `last` for decoders.
        compiled, packed_bytes: of our own engine; see `generation.Engine`.
    """

    slots: int = SLOTS
    context: int | None = None
    cache_bytes: int | None = None
    pooling: Pooling | None = None
    compiled: bool = False
    packed_bytes: int = PACKED_BYTES


@dataclass(eq=False, slots=True)
class Served:
    """A model that answers.

    Attributes:
        name: what clients call it.
        own_attention: what the model had before an engine took it.
        shares_base: whether it is an adapter in the engine of another, which is asked by its own name.
        engine: who computes, by the names of `engines.ENGINES`.
        users: requests that use it now.
        vocabulary: one more than the greatest id that a prompt may have.
    """

    name: str
    loaded: Loaded
    backend: Backend
    pooling: Pooling
    own_attention: str
    shares_base: bool = False
    engine: str = "hanji"
    created: int = field(default_factory=lambda: int(time.time()))
    users: int = 0
    vocabulary: int = field(init=False)

    def __post_init__(self) -> None:
        self.vocabulary = int(self.loaded.model.config.get_text_config().vocab_size)

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return self.loaded.tokenizer

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it can be asked."""
        config = self.loaded.model.config
        if self.loaded.head == "causal":
            chat: tuple[Task, ...] = ("chat",) if self.tokenizer.chat_template else ()
            writes_only = self.shares_base or self.engine != "hanji"
            return (*chat, "completion") if writes_only else (*chat, "completion", "embedding")
        if self.loaded.head == "classification":
            return ("classify", "score") if config.id2label[0] == "reward" else ("classify",)
        return ("embedding",)

    def check(self, task: Task) -> None:
        """Refuses what this model cannot do.

        Raises:
            ApiError: 400.
        """
        if task not in self.tasks:
            raise ApiError(
                400,
                f"The model `{self.name}` {_NOT_OFFERED[task]}",
                param="model",
                code="model_not_supported",
            )

    def card(self) -> dict[str, Any]:
        """What `/v1/models` says of it."""
        card: dict[str, Any] = {
            "id": self.name, "object": "model", "created": self.created, "owned_by": "hanji",
            "artifact": self.loaded.artifact, "engine": self.engine, "tasks": list(self.tasks),
            "context": self.backend.context - self.backend.reserved,
        }  # fmt: skip
        if "embedding" in self.tasks:
            size = self.loaded.model.config.get_text_config().hidden_size
            card["embedding"] = {"pooling": self.pooling, "dimensions": size, "normalized": True}
        return card


Start = Callable[[asyncio.AbstractEventLoop], Served]
"""Makes a model answer, in the event loop that will use it; may take a while."""


def start(
    name: str,
    loaded: Loaded,
    settings: Settings,
    queue: int,
    loop: asyncio.AbstractEventLoop,
    *,
    adapters: Mapping[str, Path] = MappingProxyType({}),
) -> Served:
    """Makes a model in memory answer.

    Args:
        adapters: directories by name, of what its engine answers with besides; see `shared`.

    Raises:
        ConfigError: no slots, or a context that the memory does not hold.
    """
    model, held = loaded.model, settings.cache_bytes
    own_attention = model.config._attn_implementation
    backend: Backend
    if loaded.head == "causal":
        engine = Engine(
            model, loaded.tokenizer, slots=settings.slots, context=settings.context,
            cache_bytes=CACHE_BYTES if held is None else held, adapters=adapters,
            compiled=settings.compiled, packed_bytes=settings.packed_bytes,
        )  # fmt: skip
        backend = Runner(engine, queue, loop)
    else:
        model.eval()
        reads = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31
        virtual = len(getattr(model.get_input_embeddings(), "virtual_ids", ()))
        backend = ReadingThread(reads, virtual, queue)
    if loaded.tokenizer.chat_template is not None:
        with suppress(HanjiError):  # the first chat compiles the template: not while somebody waits
            loaded.tokenizer.encode_chat([{"role": "user", "content": "."}], add_generation_prompt=True)
    pooling = settings.pooling or ("last" if loaded.head == "causal" else "mean")
    return Served(name, loaded, backend, pooling, own_attention)


class Models:
    """The models by the names that clients use.

    Args:
        starts: how each comes to answer, in the order in which they are listed.

    Attributes:
        names: what clients can name.
    """

    def __init__(self, starts: Mapping[str, Start]) -> None:
        if not starts:
            raise ConfigError("There is no model to serve", expected="one or more names")
        self.names: Final = list(starts)
        self._starts = dict(starts)
        self._served: dict[str, Served] = {}
        self._draining: set[asyncio.Task[None]] = set()

    @property
    def all(self) -> list[Served]:
        """Those that answer now."""
        return list(self._served.values())

    @property
    def are_ready(self) -> bool:
        """Whether each name has a model that answers."""
        return len(self._served) == len(self.names) and all(one.backend.is_alive() for one in self.all)

    async def open(self) -> None:
        """Makes all of them answer."""
        loop = asyncio.get_running_loop()
        for name in self.names:
            begin = self._starts.pop(name)  # which may hold the model: it must not outlive a replacement
            self._served[name] = await asyncio.to_thread(in_own_thread, partial(begin, loop))

    async def close(self) -> None:
        """Ends them; what is on its way is given up."""
        for task in self._draining:
            task.cancel()
        for served in self.all:
            await asyncio.to_thread(served.backend.close)
        self._served.clear()

    @contextmanager
    def use(self, name: str) -> Iterator[Served]:
        """The model called so, which stays while the block runs, even where another takes its place.

        Raises:
            ApiError: 404.
        """
        served = self._served.get(name)
        if served is None:
            raise unknown_model(name, self.names)
        served.users += 1
        try:
            yield served
        finally:
            served.users -= 1

    async def replace(self, name: str, begin: Start) -> None:
        """Another model answers to `name` from now on; the one before ends its answers, and then itself."""
        old = self._served.get(name)
        self._served[name] = await asyncio.to_thread(
            in_own_thread, partial(begin, asyncio.get_running_loop())
        )
        if old is not None:
            task = asyncio.create_task(_drain(old))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)


async def _drain(served: Served) -> None:
    while served.users:
        await asyncio.sleep(0.05)
    await asyncio.to_thread(served.backend.close)
    log.info("%s: %s is no longer used", served.name, served.loaded.artifact)
