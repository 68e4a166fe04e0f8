"""Whole answers to a list of prompts, by transformers' own decoding loop.

The rest of hanji knows only `generate` and `stream`; what decodes behind them can be exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from transformers import GenerationConfig

from hanji.contracts.errors import ConfigError, ModelError

ROWS_AT_A_TIME = 32
"""Prompts decoded side by side: enough to use the machine, few enough for the memory of a small one."""


class TextDecoder(Protocol):
    """What generation asks of a tokenizer."""

    @property
    def pad_id(self) -> int: ...
    @property
    def eos_ids(self) -> Sequence[int]: ...

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str: ...


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
        stop_ids: tokens that end an answer; the tokenizer's `eos_ids` by default.

    Raises:
        ConfigError: for a setting out of its range.
        ModelError: for a prompt that is empty or leaves no room in the model's context.
    """
    ending = list(tokenizer.eos_ids if stop_ids is None else stop_ids)
    answers: dict[int, Generation] = {}
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(by_length), ROWS_AT_A_TIME):
        chosen = by_length[start : start + ROWS_AT_A_TIME]
        rows = [opened(model, prompts[index]) for index in chosen]
        room = room_for_answer(model, rows, max_new_tokens)
        settings = decoding_settings(
            max_new_tokens=room, temperature=temperature, top_k=top_k, top_p=top_p,
            stop_ids=ending, pad_id=tokenizer.pad_id,
        )  # fmt: skip
        ids, mask = pad_left(rows, tokenizer.pad_id, model.device)
        with seeded(seed, model.device), evaluating(model):
            output = model.generate(ids, attention_mask=mask, generation_config=settings)
        for index, produced in zip(chosen, output[:, ids.shape[1] :].tolist(), strict=True):
            answers[index] = _finished(produced, set(ending), tokenizer)
    return [answers[index] for index in range(len(prompts))]


def _finished(produced: list[int], ending: set[int], tokenizer: TextDecoder) -> Generation:
    """Cuts the row after its first ending token: what follows is padding."""
    for position, token in enumerate(produced):
        if token in ending:
            text = tokenizer.decode(produced[:position], skip_special_tokens=True)
            return Generation(produced[: position + 1], text, "stop")
    return Generation(produced, tokenizer.decode(produced, skip_special_tokens=True), "length")


def decoding_settings(
    *, max_new_tokens: int, temperature: float, top_k: int, top_p: float, stop_ids: list[int], pad_id: int
) -> GenerationConfig:
    """How to decode, checked.

    Raises:
        ConfigError: for a setting out of its range.
    """
    for name, value, fine, expected in (
        ("max_new_tokens", max_new_tokens, max_new_tokens >= 1, "at least 1"),
        ("temperature", temperature, temperature >= 0, "0 (the most probable token) or more"),
        ("top_k", top_k, top_k >= 0, "0 (all tokens) or more"),
        ("top_p", top_p, 0 < top_p <= 1, "more than 0, at most 1"),
    ):
        if not fine:
            raise ConfigError(f"{name} is out of its range", value=value, expected=expected)
    chosen = {"temperature": temperature, "top_k": top_k, "top_p": top_p} if temperature > 0 else {}
    return GenerationConfig(
        do_sample=temperature > 0,
        max_new_tokens=max_new_tokens,
        eos_token_id=stop_ids,
        pad_token_id=pad_id,
        **chosen,
    )


def opened(model: Any, prompt: Sequence[int]) -> list[int]:
    """The prompt after the model's soft prompt, where it has one; an empty prompt stays empty."""
    virtual = getattr(model.get_input_embeddings(), "virtual_ids", ())
    return [*virtual, *prompt] if prompt else []


def room_for_answer(model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> int:
    """`max_new_tokens`, or what is left of the model's context after the longest prompt.

    Raises:
        ModelError: for a prompt that is empty or fills the context.
    """
    context: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    shortest, longest = min(map(len, prompts)), max(map(len, prompts))
    if shortest == 0:
        raise ModelError("the prompt has no tokens", hint="write at least one character")
    if context is None:
        return max_new_tokens
    if longest >= context:
        raise ModelError(
            "the prompt leaves no room for an answer in the model's context",
            value=longest,
            expected=f"fewer than {context} tokens",
            hint="shorten it; in a chat, /reset begins anew",
        )
    return min(max_new_tokens, context - longest)


def pad_left(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """[rows, longest] ids with padding on the left, and the mask of real tokens (int64)."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad_id)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, longest - len(row) :] = torch.tensor(row)
        mask[index, longest - len(row) :] = 1
    return ids.to(device), mask.to(device)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Dropout off, no gradients, none of the model's own generation settings; all come back afterwards.

    transformers fills in from the model whatever a call leaves open, a repetition penalty for one.
    """
    modes = {module: module.training for module in model.modules()}
    generates = model.can_generate()
    own_settings = model.generation_config if generates else None
    model.eval()
    if generates:
        model.generation_config = GenerationConfig()
    try:
        with torch.inference_mode():
            yield
    finally:
        if generates:
            model.generation_config = own_settings
        for module, training in modes.items():
            module.training = training


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from `seed` inside, and the generators outside as if nothing had been drawn."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
