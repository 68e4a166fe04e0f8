"""How well a model predicts rows that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from hanji.contracts.protocols import Objective, Policy
from hanji.contracts.rows import TokenRows


def held_out_loss(
    policy: Policy, objective: Objective, batches: Iterator[TokenRows], device: torch.device | str
) -> dict[str, float]:
    """The mean −log p of the trained tokens of `batches`, and what follows from it.

    Returns:
        `loss` in nats per token; `perplexity`, its exponential; `bits_per_byte`, all bits over the UTF-8
        bytes of the trained text, which compares models of different tokenizers; `accuracy`, the share of
        tokens that were the most probable one; `tokens`, how many there were. Empty where there were none.
    """
    nats = correct = 0.0
    tokens = text_bytes = 0
    with evaluating(cast("nn.Module", policy)):
        for rows in batches:
            batch = objective.collate(rows)
            found = policy.negative_log_likelihood(batch.to(device))
            nats += float(found["nll"])
            correct += float(found["correct"])
            tokens += batch.trained_tokens
            text_bytes += int(rows.text_bytes.sum())
    if not tokens:
        return {}
    scores = {
        "loss": nats / tokens,
        "perplexity": math.exp(min(nats / tokens, 700)),  # beyond lies the end of float64
        "accuracy": correct / tokens,
        "tokens": float(tokens),
    }
    return scores | ({"bits_per_byte": nats / math.log(2) / text_bytes} if text_bytes else {})


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Dropout off and no gradients inside; each submodule's own mode comes back afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training
