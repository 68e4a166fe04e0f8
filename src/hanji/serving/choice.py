"""One answer as it comes: its text, and the probabilities of the tokens that this text is made of."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hanji.generation.requests import Answer, Piece, TokenLogprob
from hanji.generation.text import TextPieces
from hanji.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Part:
    """What a piece adds.

    Attributes:
        logprobs: each with the number of characters before its token.
        finish_reason: on the last one, as OpenAI names it.
    """

    text: str = ""
    logprobs: tuple[tuple[int, TokenLogprob], ...] = ()
    finish_reason: str | None = None


class Choice:
    """One answer.

    A token is told when its text is: what is held back because it may begin a stop string is held back here
    too, and what belongs to one is never told. Neither is the token that ends an answer.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._raw = TextPieces(tokenizer)
        self._read = 0  # characters of all tokens, stop strings included
        self._held: deque[tuple[int, TokenLogprob]] = deque()
        self.text = ""
        self.logprobs: list[tuple[int, TokenLogprob]] = []
        self.finish_reason: str | None = None

    def take(self, piece: Piece, answer: Answer) -> Part:
        """The next piece; `answer` is what has come so far."""
        self.text += piece.text
        told = self._tell(piece, answer) if piece.logprobs or self._held else ()
        self.logprobs += told
        self.finish_reason = piece.finish_reason
        return Part(piece.text, told, piece.finish_reason)

    def _tell(self, piece: Piece, answer: Answer) -> tuple[tuple[int, TokenLogprob], ...]:
        for one in piece.logprobs:
            self._held.append((self._read, one))
            self._read += len(self._raw.push(one.token))
        stopped_by = answer.stopped_by
        if piece.is_last and isinstance(stopped_by, int) and self._held:
            self._held.pop()
        cuts = not piece.is_last or isinstance(stopped_by, str)
        told = []
        while self._held and (not cuts or self._held[0][0] < len(self.text)):
            told.append(self._held.popleft())
        return tuple(told)
