"""An answer that another engine writes: its tokens come here, and become text as those of our engine do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from hanji.generation.engine import check_room
from hanji.generation.handles import Handle
from hanji.generation.requests import Answer, FinishReason, Piece, Request, TokenLogprob
from hanji.generation.text import StopStrings, TextPieces
from hanji.serving.backend import OnPiece
from hanji.serving.errors import ApiError, busy, invalid
from hanji.tokenizers.tokenizer import Tokenizer


class Writing:
    """A request on its way; a `backend.Ticket` but for how it is cancelled.

    Args:
        context: tokens that the prompt and the answer have together at most.
        loop: where pieces are told, from whatever thread they come.

    Attributes:
        request: as it was asked. `most`: tokens of its answer at most. `ending`: tokens that end it.
        ignores_eos: whether none of the tokenizer's own is among them.

    Raises:
        HanjiError: the prompt leaves no room.
    """

    def __init__(
        self, number: int, request: Request, tokenizer: Tokenizer, context: int, on_piece: OnPiece,
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        ids = list(request.prompt)
        self.most = min(request.max_new_tokens, check_room(len(ids), context))
        self.ending = tokenizer.eos_ids if request.stop_ids is None else list(request.stop_ids)
        self.ignores_eos = not {*tokenizer.eos_ids} & {*self.ending}
        self.request = request
        self._handle = Handle(
            request, ids, self.most, self.ending, None, TextPieces(tokenizer), StopStrings(request.stop)
        )
        self._number, self._on_piece, self._loop = number, on_piece, loop
        self.is_over = False

    @property
    def answer(self) -> Answer:
        """As much of it as there is."""
        return self._handle.answer

    def take(self, token: int, told: tuple[TokenLogprob, ...] = ()) -> None:
        """The answer goes on with a token; after its end, nothing does."""
        if not self.is_over:
            self._tell(self._handle.take(token, told))

    def end(self, reason: FinishReason) -> None:
        """The engine says that there is no more."""
        if self.is_over:
            return
        handle, text = self._handle, ""
        if reason != "cancelled":
            text = handle.stops.push(handle.pieces.finish()) + handle.stops.finish()
            if handle.stops.found is not None:
                reason, handle.answer.stopped_by = "stop", handle.stops.found
        handle.answer.text += text
        handle.answer.finish_reason = reason
        self._tell(Piece(text=text, finish_reason=reason))

    def fail(self, error: Exception) -> None:
        """There is no answer."""
        if not self.is_over:
            self._handle.answer.error = error
            self._tell(Piece(error=error))

    def _tell(self, piece: Piece) -> None:
        self.is_over = piece.is_last
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._on_piece, self._number, piece)


def check_queue(held: int, new: int, slots: int, queue: int) -> None:
    """Refuses requests when too many wait.

    Raises:
        ApiError: 429.
    """
    if held + new > slots + queue:
        raise busy("Too many requests wait for this model; try again soon", code="queue_full")


def refuse(engine: str, param: str, why: str) -> ApiError:
    """400: what an engine cannot do."""
    return invalid(f"The engine {engine} {why}; --engine hanji has it", param, "unsupported_parameter")


def texts_only() -> ApiError:
    """400: nothing but text is to be had of another engine."""
    return invalid("This engine only writes text", "model")


def best(told: Sequence[tuple[int, float]], most: int) -> tuple[tuple[int, float], ...]:
    """The most probable tokens first, `most` of them."""
    return tuple(sorted(told, key=lambda one: -one[1])[:most])


def marked(lark: str) -> str:
    """A grammar with the first line by which programs that read several kinds know llguidance's."""
    lark = lark.lstrip()
    return lark if lark.startswith("%llguidance") else f"%llguidance {{}}\n{lark}"
