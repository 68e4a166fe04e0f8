"""Whole answers to a list of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hanji.contracts.random_keys import mix
from hanji.generation.engine import CACHE_BYTES, Engine, opened
from hanji.generation.memory import cache_bytes, slots_for
from hanji.generation.requests import Request
from hanji.generation.sampling import Sampling
from hanji.generation.text import TextDecoder

ROWS_AT_A_TIME = 32
"""Prompts decoded side by side at most: enough to use the machine."""


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
    longest = max(len(opened(model, prompt)) for prompt in prompts)
    most = min(ROWS_AT_A_TIME, len(requests))
    slots, context = slots_for(model, longest + max_new_tokens, most, CACHE_BYTES)
    needed = slots * cache_bytes(model, context)
    with Engine(model, tokenizer, slots=slots, cache_bytes=needed) as engine:
        answers = engine.run(requests)
    return [
        Generation(answer.ids, answer.text, "length" if answer.finish_reason == "length" else "stop")
        for answer in answers
    ]
