"""Attention over documents that lie end to end, each seeing only itself.

Registered with transformers under the name `hanji_packed`, so that every architecture that reads its
attention from `AttentionInterface` runs packed without a line of its own. On CPU each document is one
call of PyTorch's scaled-dot-product attention; on CUDA all are one call of `torch.nn.attention.varlen`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED_ATTENTION = "hanji_packed"

_packed_now: ContextVar[bool] = ContextVar("packed_now", default=False)


class UnsupportedAttention(Exception):
    """The architecture asks for something that packed attention does not compute."""


@dataclass(frozen=True)
class Documents:
    """Where documents begin in a packed sequence; travels through the model's keyword arguments."""

    lengths: tuple[int, ...]
    device: torch.device

    @cached_property
    def boundaries(self) -> Tensor:
        """[documents + 1] int32, cumulative lengths, as variable-length kernels want them."""
        cumulative = torch.tensor((0, *self.lengths)).cumsum(0)
        return cumulative.to(device=self.device, dtype=torch.int32)


@contextmanager
def packed_masks() -> Iterator[None]:
    """Within it, models build no attention mask: the boundaries of documents say everything."""
    token = _packed_now.set(True)
    try:
        yield
    finally:
        _packed_now.reset(token)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    documents: Documents | None = None,
    **extra: Any,
) -> tuple[Tensor, None]:
    """Attention within each document; without `documents`, plain scaled-dot-product attention.

    Args:
        query: [1, heads, tokens, head_size]; `key` and `value` may have fewer heads (grouped queries).

    Returns:
        [1, tokens, heads, head_size], and None for the weights.

    Raises:
        UnsupportedAttention: for soft-capped scores, sinks, position biases and the like.
    """
    if documents is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask,
            dropout=dropout, scaling=scaling, is_causal=is_causal, **extra,
        )  # fmt: skip
        return output, None
    for name in ("softcap", "s_aux", "position_bias"):
        if extra.get(name) is not None:
            raise UnsupportedAttention(name)
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if query.is_cuda and not dropout:
        return _attend_with_varlen(query, key, value, documents, scaling, causal, sliding_window), None
    return _attend_one_by_one(query, key, value, documents, dropout, scaling, causal, sliding_window), None


def _attend_one_by_one(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents,
    dropout: float, scaling: float | None, causal: bool, sliding_window: int | None,
) -> Tensor:  # fmt: skip
    lengths = list(documents.lengths)
    grouped = query.shape[1] != key.shape[1]
    outputs = []
    for q, k, v in zip(*(torch.split(states, lengths, 2) for states in (query, key, value)), strict=True):
        window = _window_mask(q.shape[2], sliding_window, causal, q.device)
        outputs.append(
            F.scaled_dot_product_attention(
                q, k, v,
                attn_mask=window, dropout_p=dropout, is_causal=causal and window is None,
                scale=scaling, enable_gqa=grouped,
            )
        )  # fmt: skip
    return torch.cat(outputs, 2).transpose(1, 2)


def _attend_with_varlen(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents,
    scaling: float | None, causal: bool, sliding_window: int | None,
) -> Tensor:  # fmt: skip
    from torch.nn.attention.varlen import varlen_attn

    reach = -1 if sliding_window is None else sliding_window - 1
    longest = max(documents.lengths)
    query, key, value = (states[0].transpose(0, 1).contiguous() for states in (query, key, value))
    output = varlen_attn(
        query, key, value, documents.boundaries, documents.boundaries, longest, longest,
        scale=scaling, window_size=(reach, 0 if causal else reach), enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    assert isinstance(output, Tensor)
    return output[None]


def _window_mask(length: int, window: int | None, causal: bool, device: torch.device) -> Tensor | None:
    """[length, length] bool, True where a query may look, or None where the window hides nothing."""
    if window is None or length <= window:
        return None
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < window) if causal else distance.abs() < window


def _mask_unless_packed(*args: Any, **kwargs: Any) -> Tensor | None:
    return None if _packed_now.get() else sdpa_mask(*args, **kwargs)


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, _mask_unless_packed)
