"""What an engine is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from hanji.contracts.errors import ConfigError
from hanji.generation.sampling import Sampling

FinishReason = Literal["stop", "length", "cancelled"]


class ConstraintError(ConfigError):
    """An answer cannot be kept to its constraint."""


class Constraint(Protocol):
    """What an answer may be: a grammar, at its present state."""

    def allowed(self) -> Tensor:
        """[vocabulary] bool: the tokens that may come next.

        Raises:
            HanjiError: it cannot be followed any further; so of `accept`.
        """

    def accept(self, token: int) -> None:
        """The answer goes on with `token`."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, the natural logarithm of its probability, and the most probable ones with theirs.

    Probabilities are the model's own, before penalties, temperature and constraints.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A prompt, and how it is to be answered.

    Attributes:
        prompt: token ids, special tokens included, a soft prompt not.
        max_new_tokens: of the answer; less where the model's context ends before.
        stop_ids: tokens that end the answer; None: those that end one for the tokenizer; empty: none.
        stop: strings that end the answer, and are no part of it.
        logprobs: how many most probable tokens to tell at every token; None tells no probabilities.
        prompt_logprobs: the same of the prompt's tokens.
        adapter: which of the engine's adapters answers; None: the model itself.
        constraint: what the answer may be; used by this request alone.
    """

    prompt: Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)
    max_new_tokens: int = 256
    stop_ids: Sequence[int] | None = None
    stop: Sequence[str] = ()
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    adapter: str | None = None
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(
                "max_new_tokens is out of its range", where="max_new_tokens",
                value=self.max_new_tokens, expected="at least 1",
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """What became certain of an answer.

    Attributes:
        ids: new tokens.
        text: new text; empty while a character, or what may be a stop string, is unfinished.
        logprobs: of the new tokens, where they were asked for.
        finish_reason: set on the last piece: the model ended by itself or met a stop (`stop`), ran out of
            tokens (`length`), or nobody waits any longer (`cancelled`).
        error: why there is no answer, on the last piece, or None.
    """

    ids: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    error: Exception | None = None

    def and_then(self, later: Piece) -> Piece:
        """Both as one."""
        return Piece(
            self.ids + later.ids, self.text + later.text, self.logprobs + later.logprobs,
            later.finish_reason, later.error,
        )  # fmt: skip

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return self.finish_reason is not None or self.error is not None


@dataclass(slots=True)
class Answer:
    """A whole answer, or as much of it as there is.

    Attributes:
        ids: the tokens as produced, the one that ended the answer included.
        text: their text, without special tokens and stop strings.
        finish_reason: see `Piece`; None while it is being written.
        logprobs: of each token, where asked for.
        prompt_logprobs: of the prompt's tokens from the second on, where asked for.
        stopped_by: the stop string or token that ended it, or None.
        reused: tokens of the prompt whose keys and values were found ready.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: FinishReason | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    stopped_by: str | int | None = None
    reused: int = 0
    error: Exception | None = None
