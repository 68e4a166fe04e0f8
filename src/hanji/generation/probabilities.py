"""What the model expects next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from hanji.contracts.errors import ConfigError
from hanji.contracts.modes import evaluating
from hanji.generation.decoders import reads
from hanji.generation.engine import check_room, opened
from hanji.generation.text import TextDecoder


class PromptEncoder(TextDecoder, Protocol):
    """A tokenizer that also encodes a plain prompt."""

    def encode_prompt(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class NextToken:
    """A token that may come next: its id, its text after the prompt, its probability."""

    id: int
    text: str
    probability: float


def next_token_probabilities(
    model: Any, tokenizer: PromptEncoder, text: str, top: int = 10
) -> list[NextToken]:
    """The `top` most probable tokens after `text`, most probable first.

    Raises:
        ConfigError: if `top` is less than 1.
        ModelError: for a text without tokens, or one that fills the model's context.
    """
    if top < 1:
        raise ConfigError("top is out of its range", value=top, expected="at least 1")
    prompt = list(tokenizer.encode_prompt(text))
    ids = opened(model, prompt)
    check_room(len(ids), reads(model))
    with evaluating(model):
        logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0, -1].float()
    probabilities, likeliest = logits.softmax(-1).topk(min(top, logits.shape[-1]))
    shown = len(tokenizer.decode(prompt))
    return [
        NextToken(token, tokenizer.decode([*prompt, token])[shown:], probability)
        for token, probability in zip(likeliest.tolist(), probabilities.tolist(), strict=True)
    ]
