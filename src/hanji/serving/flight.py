"""The answers to one request on their way: pieces as they come, in time, or an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from hanji.generation.requests import ConstraintError, Piece, Request
from hanji.serving.errors import ApiError, refused
from hanji.serving.forms import Form
from hanji.serving.models import Served


class Flight:
    """Submits requests; then tells their pieces.

    Args:
        seconds: until all answers must be there.

    Attributes:
        first_token_seconds, seconds: since the start, to the first token and to the newest.

    Raises:
        ApiError: too many wait already (429).
    """

    def __init__(self, served: Served, requests: Sequence[Request], started: float, seconds: float) -> None:
        self._pieces: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
        self._started = started
        self._left = len(requests)
        self._requests, self._is_own = requests, served.engine == "hanji"
        self.first_token_seconds: float | None = None
        self.seconds = 0.0
        self.tickets = served.backend.submit(requests, self._take)
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _take(self, number: int, piece: Piece) -> None:
        if piece.ids:
            self.seconds = time.monotonic() - self._started
            if self.first_token_seconds is None:
                self.first_token_seconds = self.seconds
        self._pieces.put_nowait((number, piece))

    def _expire(self) -> None:
        late = ApiError(504, "The answer took longer than this service allows", code="deadline_exceeded")
        self._pieces.put_nowait((0, Piece(error=late)))

    async def next(self) -> tuple[int, Piece] | None:
        """The next piece, and which answer it is of; None after the last.

        Raises:
            ApiError: the time is over (504), the engine refuses what is asked (400), or it failed (500).
        """
        if not self._left:
            return None
        number, piece = await self._pieces.get()
        if isinstance(piece.error, ApiError):
            raise piece.error
        if isinstance(piece.error, ConstraintError) and self._is_own:
            form = self._requests[number].constraint
            raise refused(piece.error, form.param if isinstance(form, Form) else None)
        if piece.error is not None:
            raise ApiError(
                500, "The model failed to answer; the service's log says why", code="model_failed"
            ) from piece.error
        if piece.is_last:
            self._left -= 1
        return number, piece

    def cancel(self) -> None:
        """Nobody waits any longer; what has ended already stays as it is."""
        self._deadline.cancel()
        if self._left:
            for ticket in self.tickets:
                ticket.cancel()

    @property
    def reused_tokens(self) -> int:
        """Of prompts that were found ready."""
        return sum(ticket.answer.reused for ticket in self.tickets)

    @property
    def completion_tokens(self) -> int:
        """Of all answers, those that end them included."""
        return sum(len(ticket.answer.ids) for ticket in self.tickets)
