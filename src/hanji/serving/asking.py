"""From a body to what an engine is asked."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

from hanji.contracts.random_keys import mix
from hanji.generation.requests import Constraint, Request
from hanji.generation.sampling import Sampling
from hanji.serving.bodies.generation import Generating
from hanji.serving.errors import invalid
from hanji.serving.models import Served

Value = TypeVar("Value")


def requests_of(
    body: Generating,
    served: Served,
    prompt: Sequence[int],
    *,
    index: int,
    max_new_tokens: int,
    logprobs: int | None,
    prompt_logprobs: int | None = None,
    form: Callable[[], Constraint] | None = None,
) -> list[Request]:
    """`n` requests for one prompt, each with a seed of its own.

    Args:
        index: of the prompt among the prompts of the request.
        form: makes what an answer must keep to.

    Raises:
        ApiError: a token that the model does not have, or a form that cannot be kept to.
    """
    n, vocabulary = body.n or 1, served.vocabulary
    bias = {int(token): value for token, value in (body.logit_bias or {}).items()}
    for param, tokens in (("logit_bias", bias), ("stop_token_ids", body.stop_token_ids or ())):
        if any(token >= vocabulary for token in tokens):
            raise invalid(f"`{param}`: token ids are from 0 to {vocabulary - 1}", param)
    seed = body.seed if body.seed is not None else secrets.randbits(62)
    ends = [] if body.ignore_eos else served.tokenizer.eos_ids
    return [
        Request(
            prompt=prompt,
            sampling=Sampling(
                temperature=_or(body.temperature, 1.0), top_p=_or(body.top_p, 1.0),
                top_k=max(_or(body.top_k, 0), 0), min_p=_or(body.min_p, 0.0),
                repetition_penalty=_or(body.repetition_penalty, 1.0),
                presence_penalty=_or(body.presence_penalty, 0.0),
                frequency_penalty=_or(body.frequency_penalty, 0.0),
                logit_bias=bias, seed=int(mix(seed, index * n + choice)),
            ),
            max_new_tokens=max_new_tokens,
            stop_ids=[*ends, *(body.stop_token_ids or ())],
            stop=body.stops,
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            constraint=None if form is None else form(),
        )
        for choice in range(n)
    ]  # fmt: skip


def _or(value: Value | None, default: Value) -> Value:
    return default if value is None else value
