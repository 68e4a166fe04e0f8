"""The seam between the service and who computes: our engine, or another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from hanji.generation.requests import Answer, Piece, Request

Result = TypeVar("Result")
OnPiece = Callable[[int, Piece], None]
"""Told the number of the request among those submitted together, and what became certain of its answer."""


class Ticket(Protocol):
    """A request on its way."""

    @property
    def answer(self) -> Answer:
        """As much of it as there is; whole once its last piece has come."""

    def cancel(self) -> None:
        """Nobody waits any longer. From any thread, also afterwards; its slot is free at the next step."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a backend is busy with.

    Attributes:
        waiting, running: answers. `slots`: how many run at a time.
        cache_bytes: keys and values of what runs; `prefix_bytes`: of what prompts begin with, kept.
    """

    waiting: int
    running: int
    slots: int
    cache_bytes: int
    prefix_bytes: int


class Backend(Protocol):
    """Answers requests with one model. All of it is called from the service's event loop."""

    @property
    def context(self) -> int:
        """Tokens that a prompt and its answer have together at most."""

    @property
    def reserved(self) -> int:
        """Tokens that are put before every prompt: a soft prompt."""

    def submit(self, requests: Sequence[Request], on_piece: OnPiece) -> list[Ticket]:
        """Takes all requests, or none; pieces are told in the event loop.

        Raises:
            ApiError: too many wait already (429).
        """

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """Runs something else with the model, between two steps.

        Raises:
            ApiError: too much waits already (429).
        """

    def load(self) -> Load:
        """What it is busy with."""

    def is_alive(self) -> bool:
        """Whether it can still answer."""

    def close(self) -> None:
        """Gives up what is on its way, and ends."""
