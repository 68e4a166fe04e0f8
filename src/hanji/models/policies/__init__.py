"""Models under training, one kind for each head. A new head is one file here and one line below."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from hanji.contracts.progress import Progress
from hanji.contracts.protocols import Head
from hanji.models.policies.causal import CausalPolicy
from hanji.models.policies.classification import ClassificationPolicy
from hanji.models.policies.masked import MaskedPolicy
from hanji.models.policies.policy import ModelPolicy

POLICIES: dict[Head, type[ModelPolicy]] = {
    "causal": CausalPolicy,
    "masked": MaskedPolicy,
    "pretraining": MaskedPolicy,
    "classification": ClassificationPolicy,
}


def policy_for(
    head: Head,
    model: Any,
    *,
    pad_id: int,
    precision: torch.dtype | None = None,
    progress: Progress | None = None,
    switch_off: Callable[[], AbstractContextManager[None]] | None = None,
) -> ModelPolicy:
    """The policy of a model that ends in `head`; arguments are those of `ModelPolicy`."""
    return POLICIES[head](model, pad_id=pad_id, precision=precision, progress=progress, switch_off=switch_off)


__all__ = ["POLICIES", "CausalPolicy", "ClassificationPolicy", "MaskedPolicy", "ModelPolicy", "policy_for"]
