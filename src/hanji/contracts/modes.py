"""Modules that are lent out: as they are needed inside a block, as they were afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def in_evaluation(module: nn.Module) -> Iterator[None]:
    """Dropout off inside; each submodule's own mode comes back afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The same, and no gradients."""
    with in_evaluation(module), torch.no_grad():
        yield
