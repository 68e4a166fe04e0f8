"""Adapters that answer under names of their own, in the engine of the base model that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hanji.generation.requests import Request
from hanji.serving.backend import Load, OnPiece, Result, Ticket
from hanji.serving.models import Loaded, Served, Settings, Start, start
from hanji.serving.runner import Runner
from hanji.tokenizers.tokenizer import Tokenizer


class AdapterBackend:
    """One adapter in the engine of its base; see `backend.Backend`."""

    def __init__(self, base: Runner, name: str) -> None:
        self._base, self._name = base, name
        prompt = base.engine.adapters.load(name).prompt
        self.reserved = 0 if prompt is None else len(prompt)

    @property
    def context(self) -> int:
        """See `Backend`."""
        return self._base.context

    def submit(self, requests: Sequence[Request], on_piece: OnPiece) -> list[Ticket]:
        """See `Backend`."""
        return self._base.submit([replace(one, adapter=self._name) for one in requests], on_piece)

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """See `Backend`."""
        return self._base.call(work)

    def load(self) -> Load:
        """Nothing of its own: the base tells the load of both."""
        return Load(0, 0, self._base.engine.slots, 0, 0)

    def is_alive(self) -> bool:
        """See `Backend`."""
        return self._base.is_alive()

    def close(self) -> None:
        """Nothing: the base ends itself."""


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """Where an adapter lies, and what it needs besides the base.

    Attributes:
        artifact: for its card, as in `Loaded`.
    """

    directory: Path
    tokenizer: Tokenizer
    artifact: str


@dataclass(slots=True)
class SharedBase:
    """A model and the adapters over it.

    Args:
        adapters: by the names that clients use.
    """

    name: str
    loaded: Loaded
    settings: Settings
    queue: int
    adapters: Mapping[str, AdapterSource]
    _served: Served | None = field(default=None, init=False)

    @property
    def starts(self) -> dict[str, Start]:
        """How each name comes to answer; the base first."""
        return {self.name: self._begin, **{name: partial(self._join, name) for name in self.adapters}}

    def _begin(self, loop: asyncio.AbstractEventLoop) -> Served:
        places = {name: adapter.directory for name, adapter in self.adapters.items()}
        self._served = start(self.name, self.loaded, self.settings, self.queue, loop, adapters=places)
        return self._served

    def _join(self, name: str, loop: asyncio.AbstractEventLoop) -> Served:
        base, adapter = self._served, self.adapters[name]
        assert base is not None and isinstance(base.backend, Runner)
        loaded = replace(self.loaded, tokenizer=adapter.tokenizer, artifact=adapter.artifact)
        backend = AdapterBackend(base.backend, name)
        return Served(name, loaded, backend, base.pooling, base.own_attention, shares_base=True)
