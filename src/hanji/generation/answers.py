"""Whole answers to a list of prompts, and one answer piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from hanji.contracts.random_keys import mix
from hanji.generation.engine import Engine, no_room
from hanji.generation.requests import FinishReason, Request
from hanji.generation.sampling import Sampling
from hanji.generation.text import TextDecoder

ROWS_AT_A_TIME = 32
"""Prompts decoded side by side: enough to use the machine, few enough for the memory of a small one."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer.

    Attributes:
        ids: the tokens as produced, the one that ended the answer included.
        text: their text, without special tokens.
        finish_reason: `stop` where the model ended by itself, `length` where it ran out of tokens.
    """

    ids: list[int]
    text: str
    finish_reason: Literal["stop", "length"]


def generate(
    model: Any,
    tokenizer: TextDecoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop_ids: Sequence[int] | None = None,
) -> list[Generation]:
    """One answer for each prompt, in their order; the same seed and prompts give the same answers.

    Args:
        model: a causal model of transformers. Its own generation settings are not used.
        prompts: token ids, special tokens included.
        temperature: 0 takes the most probable token each time.
        top_k: sample from the `top_k` most probable tokens; 0 from all.
        top_p: sample from the most probable tokens that together have this probability.
        seed: each prompt draws by numbers of its own, which follow from this and its place in the list.
        stop_ids: tokens that end an answer; the tokenizer's `eos_ids` by default.

    Raises:
        ConfigError: for a setting out of its range.
        ModelError: for a prompt that is empty or leaves no room in the model's context.
    """
    requests = [
        Request(
            prompt=prompt,
            sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=int(mix(seed, index))),
            max_new_tokens=max_new_tokens,
            stop_ids=stop_ids,
        )
        for index, prompt in enumerate(prompts)
    ]
    if not requests:
        return []
    with Engine(model, tokenizer, slots=min(ROWS_AT_A_TIME, len(requests))) as engine:
        answers = engine.run(requests)
    return [
        Generation(answer.ids, answer.text, "length" if answer.finish_reason == "length" else "stop")
        for answer in answers
    ]


def stream(
    model: Any,
    tokenizer: TextDecoder,
    prompt: Sequence[int],
    *,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop_ids: Sequence[int] | None = None,
) -> Generator[str, None, FinishReason]:
    """The answer to one prompt as pieces of text; joined, they are the `text` that `generate` gives.

    Decoding goes on as pieces are asked for, and ends when the iterator is closed. Arguments and errors are
    those of `generate`.

    Returns:
        The generator's value (of `yield from`): the finish reason.
    """
    request = Request(
        prompt=prompt,
        sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=int(mix(seed, 0))),
        max_new_tokens=max_new_tokens,
        stop_ids=stop_ids,
    )
    with Engine(model, tokenizer, slots=1) as engine:
        for piece in engine.stream(request):
            if piece.text:
                yield piece.text
            if piece.finish_reason is not None:
                return piece.finish_reason
    raise AssertionError("the last piece has a finish reason")


def room_for_answer(model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> int:
    """`max_new_tokens`, or what is left of the model's context after the longest prompt.

    Raises:
        ModelError: for a prompt that is empty or fills the context.
    """
    context: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    shortest, longest = min(map(len, prompts)), max(map(len, prompts))
    if shortest == 0 or (context is not None and longest >= context):
        raise no_room(0 if shortest == 0 else longest, context or 0)
    return max_new_tokens if context is None else min(max_new_tokens, context - longest)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Dropout off and no gradients; the model is as it was afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
