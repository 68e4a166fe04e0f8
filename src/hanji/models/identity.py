"""A short name for a model's weights, whatever file they came from: how an adapter knows its base."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import nn

SAMPLED = 256
"""Values looked at in each tensor: enough to tell two models apart, few enough for a large one."""


def weights_digest(model: nn.Module, without: Sequence[str] = ()) -> str:
    """SHA-256 of names, shapes and evenly spaced values of all parameters, rounded to bfloat16.

    So it is the same for weights from safetensors, from GGUF, in fp32 and in bf16.

    Args:
        without: modules that do not count, as a new head.
    """
    found = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if any(name.startswith(f"{module}.") for module in without):
            continue
        flat = parameter.detach().flatten()
        values = flat[:: max(1, len(flat) // SAMPLED)][:SAMPLED].to(torch.bfloat16).float().cpu()
        found.update(f"{name} {tuple(parameter.shape)} ".encode())
        found.update(values.numpy().astype("<f4").tobytes())
    return found.hexdigest()
