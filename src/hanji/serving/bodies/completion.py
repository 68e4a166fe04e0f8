"""The body of `/v1/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from hanji.serving.bodies.generation import Generating, TokenId

Prompt = str | list[str] | list[TokenId] | list[list[TokenId]]


class CompletionBody(Generating):
    """Prompts to be continued: texts, or token ids as they are.

    `max_tokens: 0` is taken with `echo`, to have the probabilities of a prompt.
    """

    why_not: ClassVar[Mapping[str, str]] = {
        "suffix": "models here only continue a text",
        "best_of": "ask for `n` answers with `logprobs`, and choose",
    }

    prompt: Prompt
    max_tokens: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: None = None
    suffix: None = None
