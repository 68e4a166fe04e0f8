"""What a model makes of texts: vectors and scores. To be called where nobody else uses the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from hanji.contracts.modes import evaluating
from hanji.generation.engine import opened
from hanji.objectives.framing import frame_texts
from hanji.serving.models import Pooling, Served
from hanji.tokenizers.tokenizer import Tokenizer

_ROWS = 16
"""Texts that are read at once."""


def text_ids(served: Served, texts: Sequence[str]) -> list[list[int]]:
    """The ids of texts as the model was trained on them: framed for encoders, opened for decoders."""
    tokenizer: Tokenizer = served.tokenizer
    if served.loaded.head == "causal":
        return [tokenizer.encode_prompt(text) for text in texts]
    framed = frame_texts(tokenizer, texts, [None] * len(texts))
    return [framed.ids[start:end].tolist() for start, end in pairwise(framed.offsets)]


def embed(served: Served, rows: Sequence[Sequence[int]]) -> list[list[float]]:
    """A vector of length 1 for each row of ids, in their order."""
    vectors: list[list[float]] = [[] for _ in rows]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    with _as_it_was(served), evaluating(served.loaded.model):
        for start in range(0, len(order), _ROWS):
            chosen = order[start : start + _ROWS]
            found = _embed(served, [rows[index] for index in chosen])
            for index, vector in zip(chosen, found.tolist(), strict=True):
                vectors[index] = vector
    return vectors


def _embed(served: Served, rows: Sequence[Sequence[int]]) -> Tensor:
    """[rows, hidden size] fp32. Padding stands on the right, and is seen by nobody."""
    model, virtual = served.loaded.model, served.backend.reserved
    whole = [opened(model, row) for row in rows]
    longest = max(map(len, whole))
    padding = served.tokenizer.pad_id
    ids = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in whole], device=model.device)
    lengths = torch.tensor([len(row) for row in whole], device=model.device)
    mask = (torch.arange(longest, device=model.device)[None] < lengths[:, None]).long()
    options = {"use_cache": False} if served.loaded.head == "causal" else {}
    states = model.base_model(input_ids=ids, attention_mask=mask, **options).last_hidden_state.float()
    return torch.nn.functional.normalize(pooled(states, mask, virtual, served.pooling), dim=-1)


def pooled(states: Tensor, mask: Tensor, virtual: int, pooling: Pooling) -> Tensor:
    """[rows, hidden size] from [rows, tokens, hidden size]; the `virtual` tokens before a text count not."""
    if pooling == "cls":
        return states[:, virtual]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    weights = mask.clone()
    weights[:, :virtual] = 0
    return (states * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)


def scores(served: Served, rows: Sequence[Sequence[int]]) -> list[list[float]]:
    """What a classification head gives for each row of ids: one number for each of its labels."""
    model = served.loaded.model
    found = []
    with evaluating(model):
        for row in rows:
            ids = torch.tensor([opened(model, row)], device=model.device)
            found.append(model(input_ids=ids).logits[0].float().tolist())
    return found


@contextmanager
def _as_it_was(served: Served) -> Iterator[None]:
    """The model attends as it did before the engine took it."""
    model: Any = served.loaded.model
    now = model.config._attn_implementation
    if now == served.own_attention:
        yield
        return
    model.set_attn_implementation(served.own_attention)
    try:
        yield
    finally:
        model.set_attn_implementation(now)
