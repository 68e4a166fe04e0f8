"""One thread for each model: it steps the engine, and hands what comes of it to the event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Condition, Thread
from typing import Final

from hanji.contracts.errors import HanjiError
from hanji.generation.engine import Engine
from hanji.generation.handles import Handle
from hanji.generation.memory import bytes_per_token
from hanji.generation.requests import Answer, Piece, Request
from hanji.serving.backend import Load, OnPiece, Result, Ticket
from hanji.serving.errors import ApiError, busy

log = logging.getLogger(__name__)

FAILURES: Final = 8
"""Steps that fail one after another until the thread ends, and `/health` says so."""

PIECES_PER_SECOND: Final = 160
SHORTEST_HELD: Final = 0.02
LONGEST_HELD: Final = 0.1
"""Pieces of all answers in a second at most, and seconds from one to the next of an answer: a screen shows no
more, and a reader waits no longer. Each takes time of the event loop, and so from the cores that compute. The
first text never waits, nor does the last."""


class EngineTicket:
    """A request to our engine; see `backend.Ticket`."""

    def __init__(self, runner: Runner, number: int, request: Request, on_piece: OnPiece) -> None:
        self._runner, self._number, self._on_piece = runner, number, on_piece
        self.request = request
        self.handle: Handle | None = None
        self.is_cancelled = self.is_over = False
        self._has_text = False
        self._held: Piece | None = None

    @property
    def answer(self) -> Answer:
        """See `backend.Ticket`."""
        return Answer() if self.handle is None else self.handle.answer

    def cancel(self) -> None:
        """See `backend.Ticket`."""
        self.is_cancelled = True
        if self.handle is not None:
            self.handle.cancel()
        self._runner.wake()

    def adopt(self, handle: Handle) -> None:
        """The engine has it now."""
        self.handle = handle
        if self.is_cancelled:
            handle.cancel()

    def take(self, piece: Piece) -> None:
        """Called in the runner's thread, as `tell`. After the last piece there is none."""
        if self.is_over:
            return
        self.is_over = piece.is_last
        if self._held is not None and piece.error is None:
            piece = self._held.and_then(piece)
        elif self._held is not None:
            self.tell()
        self._held = piece
        if not self._has_text or piece.error is not None:
            self.tell()

    def tell(self) -> None:
        """Hands over what is held."""
        if self._held is not None:
            self._has_text |= bool(self._held.text)
            self._runner.post(self._on_piece, self._number, self._held)
            self._held = None


class Runner:
    """Our engine as a `Backend`.

    It waits while there is nothing to do. An exception in a step fails what was running, and no more.

    Args:
        engine: nobody else may step it.
        queue: requests that may wait for a slot.
        loop: where pieces are told.
    """

    def __init__(self, engine: Engine, queue: int, loop: asyncio.AbstractEventLoop) -> None:
        self.engine, self.queue, self._loop = engine, queue, loop
        self._wake = Condition()
        self._jobs: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._inbox: deque[EngineTicket] = deque()
        self._tickets: dict[Handle, EngineTicket] = {}  # touched by the runner's thread alone
        self._outbox: deque[tuple[OnPiece, int, Piece]] = deque()
        self._closing = False
        self._failures = 0
        self._told = 0.0
        self._bytes_per_token = bytes_per_token(engine.model)
        self._reserved = len(getattr(engine.model.get_input_embeddings(), "virtual_ids", ()))
        self._thread = Thread(target=self._run, name="hanji-engine", daemon=True)
        self._thread.start()

    @property
    def context(self) -> int:
        """See `Backend`."""
        return self.engine.context

    @property
    def reserved(self) -> int:
        """See `Backend`."""
        return self._reserved

    def submit(self, requests: Sequence[Request], on_piece: OnPiece) -> list[Ticket]:
        """See `Backend`."""
        with self._wake:
            held = len(self._inbox) + len(self.engine.running) + len(self.engine.waiting)
            self._check_alive()
            if held + len(requests) > self.engine.slots + self.queue:
                raise busy("Too many requests wait for this model; try again soon", code="queue_full")
            tickets = [EngineTicket(self, number, one, on_piece) for number, one in enumerate(requests)]
            self._inbox.extend(tickets)
            self._wake.notify()
        return list(tickets)

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """See `Backend`."""
        future: Future[Result] = Future()
        with self._wake:
            self._check_alive()
            if len(self._jobs) >= self.queue:
                raise busy("Too many requests wait for this model; try again soon", code="queue_full")
            self._jobs.append((work, future))  # type: ignore[arg-type]
            self._wake.notify()
        return future

    def load(self) -> Load:
        """See `Backend`."""
        engine, running = self.engine, list(self.engine.running.values())
        tokens = sum(handle.read + len(handle.answer.ids) for handle in running)
        return Load(
            len(self._inbox) + len(engine.waiting) + len(self._jobs), len(running), engine.slots,
            tokens * self._bytes_per_token, engine.prefixes.nbytes,
        )  # fmt: skip

    def is_alive(self) -> bool:
        """See `Backend`."""
        return self._thread.is_alive()

    def close(self) -> None:
        """See `Backend`."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def wake(self) -> None:
        """Something changed that a step must see."""
        with self._wake:
            self._wake.notify()

    def post(self, on_piece: OnPiece, number: int, piece: Piece) -> None:
        """Hands a piece to the event loop; pieces that come before it looks are told together."""
        self._outbox.append((on_piece, number, piece))
        if len(self._outbox) == 1:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        while self._outbox:
            on_piece, number, piece = self._outbox.popleft()
            on_piece(number, piece)

    def _run(self) -> None:
        try:
            with self.engine:
                while self._failures < FAILURES:
                    with self._wake:
                        self._wake.wait_for(self._has_work)
                        if self._closing:
                            break
                        self._take_in()
                    if self._jobs:
                        self._work(*self._jobs.popleft())
                    if self.engine.running or self.engine.waiting:
                        self._step()
        finally:
            self._give_up()

    def _check_alive(self) -> None:
        if self._closing:
            raise ApiError(503, "This model does not answer any longer", code="model_down")

    def _has_work(self) -> bool:
        return bool(self._closing or self._jobs or self._inbox or self.engine.running or self.engine.waiting)

    def _take_in(self) -> None:
        while self._inbox:
            ticket = self._inbox.popleft()
            if ticket.is_cancelled:
                continue
            try:
                handle = self.engine.submit(ticket.request, ticket.take)
            except HanjiError as error:
                ticket.take(Piece(error=error))
            else:
                ticket.adopt(handle)
                self._tickets[handle] = ticket

    def _work(self, work: Callable[[], object], future: Future[object]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    def _step(self) -> None:
        try:
            self.engine.step()
            self._failures = 0
        except Exception as error:
            self._failures += 1
            log.exception("a step of the engine failed; what was running is given up")
            for handle in list(self.engine.running.values()) or list(self.engine.waiting):
                if handle in self._tickets:
                    self._tickets[handle].take(Piece(error=error))
                handle.cancel()
        self._tell_held()
        for handle in [handle for handle, ticket in self._tickets.items() if ticket.is_over]:
            del self._tickets[handle]

    def _tell_held(self) -> None:
        now = time.monotonic()
        shared = len(self._tickets) / PIECES_PER_SECOND
        is_due = now - self._told >= min(max(shared, SHORTEST_HELD), LONGEST_HELD)
        for ticket in self._tickets.values():
            if is_due or ticket.is_over:
                ticket.tell()
        if is_due:
            self._told = now

    def _give_up(self) -> None:
        error = RuntimeError("the service ends")
        with self._wake:
            self._closing = True
            left = [*self._tickets.values(), *self._inbox]
            self._tickets.clear()
            self._inbox.clear()
        for ticket in left:
            ticket.take(Piece(error=error))
        while self._jobs:
            _, future = self._jobs.popleft()
            future.cancel()
