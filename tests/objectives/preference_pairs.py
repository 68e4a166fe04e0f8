"""Two pairs of answers and tiny models of them, the same wherever they are made: here, and beside TRL."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch

from hanji.contracts.rows import TokenRows
from tiny_models import tiny

PROMPTS = [[3, 14, 15, 92], [65, 35, 89, 79, 32, 38]]
CHOSEN = [[46, 26, 43, 38, 32, 2], [79, 50, 2]]
REJECTED = [[28, 84, 19, 2], [71, 69, 39, 93, 75, 10, 58, 2]]
MARGINS = [0.5, 0.0]


def policy_model() -> Any:
    """The Llama under training: the reference, a step away from it."""
    model = reference_model()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(_drawn(f"a step of {name}", parameter, 0.05))
    return model


def reference_model() -> Any:
    """The Llama before training."""
    return _filled(tiny("llama"))


def reward_model() -> Any:
    """A Llama that gives each answer one number."""
    model = tiny("llama", "classification")
    model.score = torch.nn.Linear(model.config.hidden_size, 1, bias=False)
    model.config.num_labels = model.num_labels = 1
    return _filled(model)


def _filled(model: Any) -> Any:
    """The model with numbers drawn from its parameters' names: the same in every version of every library."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = float(parameter.ndim == 1)
            parameter.copy_(_drawn(name, parameter, 0.2) + norm)
    return model


def _drawn(name: str, like: torch.Tensor, scale: float) -> torch.Tensor:
    random = np.random.RandomState(zlib.crc32(name.encode()))
    return torch.from_numpy(scale * random.standard_normal(tuple(like.shape))).float()


def token_rows() -> TokenRows:
    """The two pairs, as an objective encodes them."""
    documents = [
        (prompt, answer)
        for prompt, *answers in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
        for answer in answers
    ]
    sizes = np.array([len(prompt) + len(answer) for prompt, answer in documents]).reshape(-1, 2)
    return TokenRows(
        np.array([index for prompt, answer in documents for index in prompt + answer], np.int32),
        sizes.sum(1),
        np.array([said for prompt, answer in documents for said in [0] * len(prompt) + [1] * len(answer)])
        > 0,
        np.zeros(2, np.int64),
        sizes[:, 0].copy(),
        np.array([[margin] for margin in MARGINS]),
    )
