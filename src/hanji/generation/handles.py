"""A request from the moment it is taken until it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hanji.generation.requests import Answer, FinishReason, Piece, Request, TokenLogprob
from hanji.generation.sampling import Row
from hanji.generation.text import StopStrings, TextPieces


@dataclass(eq=False, slots=True)
class Handle:
    """A request on its way. `cancel` may be called from any thread.

    Attributes:
        ids: the prompt with what stands before it.
        room: tokens that the answer may have.
        ending: tokens that end it.
        slot: where it is answered; -1 while it waits, and afterwards.
        read: tokens of the prompt that are read.
        blocks: names of its whole blocks, where those of others may be reused.
    """

    request: Request
    ids: list[int]
    room: int
    ending: Sequence[int]
    on_piece: Callable[[Piece], None] | None
    pieces: TextPieces
    stops: StopStrings
    answer: Answer = field(default_factory=Answer)
    slot: int = -1
    read: int = 0
    blocks: Sequence[bytes] = ()
    cancelled: bool = False

    def cancel(self) -> None:
        """Nobody waits for the answer any longer; its slot is free at the next step."""
        self.cancelled = True

    @property
    def is_done(self) -> bool:
        """Whether the answer is complete, or there will be none."""
        return self.answer.finish_reason is not None or self.answer.error is not None

    @property
    def is_read(self) -> bool:
        """Whether all of the prompt is."""
        return self.read == len(self.ids)

    def next_block(self, size: int) -> bytes | None:
        """The name of the block that is to be read now, where others may have read it."""
        number = self.read // size
        return self.blocks[number] if number < len(self.blocks) else None

    def row(self) -> Row:
        """What the choice of its next token depends on.

        Raises:
            HanjiError: its constraint cannot be followed any further.
        """
        constraint = self.request.constraint
        allowed = None if constraint is None else constraint.allowed()
        return Row(self.request.sampling, self.ids, self.answer.ids, allowed)

    def take(self, token: int, told: tuple[TokenLogprob, ...]) -> Piece:
        """The answer goes on with a token; says what became certain by it.

        Raises:
            HanjiError: its constraint cannot be followed any further.
        """
        answer = self.answer
        answer.ids.append(token)
        answer.logprobs += told
        if self.request.constraint is not None:
            self.request.constraint.accept(token)
        reason: FinishReason | None = None
        text = ""
        if token in self.ending:
            reason, answer.stopped_by = "stop", token
        else:
            text = self.stops.push(self.pieces.push(token))
        if reason is None and len(answer.ids) >= self.room:
            reason = "length"
        if self.stops.found is None and reason is not None:
            text += self.stops.push(self.pieces.finish())
        if self.stops.found is not None:
            reason, answer.stopped_by = "stop", self.stops.found
        elif reason is not None:
            text += self.stops.finish()
        answer.text += text
        answer.finish_reason = reason
        return Piece((token,), text, told, reason)
