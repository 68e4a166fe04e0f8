"""Attention over documents that lie end to end, each seeing only itself.

Registered with transformers under the name `hanji_packed`, so that every architecture that reads its
attention from `AttentionInterface` runs packed without a line of its own. On CPU documents of
like length are one call of PyTorch's scaled-dot-product attention; on CUDA all are one call of `varlen_attn`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
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
    def layout(self) -> Layout:
        """Documents of like length side by side, for kernels that want rectangles."""
        return Layout.of(self.lengths, self.device)

    @cached_property
    def boundaries(self) -> Tensor:
        """[documents + 1] int32, cumulative lengths, as variable-length kernels want them."""
        cumulative = torch.tensor((0, *self.lengths)).cumsum(0)
        return cumulative.to(device=self.device, dtype=torch.int32)


@dataclass(frozen=True)
class Layout:
    """Documents sorted by length and padded within groups of like length, so that a group is one call.

    Attributes:
        groups: of each group, how many documents and their padded length.
        real: of each group, [documents, 1, 1, padded length] bool, True at tokens; None without padding.
        index: [padded tokens] the token that stands at each place; 0 where padding stands.
        inverse: [tokens] the place of each token.
        padding: the places where padding stands.
    """

    groups: tuple[tuple[int, int], ...]
    real: tuple[Tensor | None, ...]
    index: Tensor
    inverse: Tensor
    padding: Tensor

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> Layout:
        """Groups documents as long as the padding stays below a quarter of the longest."""
        sizes = np.asarray(lengths)
        order = np.argsort(-sizes, kind="stable")
        groups: list[tuple[int, int]] = []
        for length in sizes[order].tolist():
            if groups and length >= _LIKE_LENGTH * groups[-1][1]:
                groups[-1] = (groups[-1][0] + 1, groups[-1][1])
            else:
                groups.append((1, length))
        padded = np.repeat([length for _, length in groups], [count for count, _ in groups])
        places = np.cumsum(padded) - padded
        starts = np.cumsum(sizes) - sizes
        within = np.arange(int(sizes.sum())) - np.repeat(starts, sizes)
        place_of_document = np.empty_like(starts)
        place_of_document[order] = places
        inverse = np.repeat(place_of_document, sizes) + within
        index = np.full(int(padded.sum()), -1)
        index[inverse] = np.arange(len(inverse))
        padding = np.flatnonzero(index < 0)
        index[padding] = 0
        first, real = 0, []
        for count, length in groups:
            own = sizes[order][first : first + count]
            mask = torch.from_numpy(np.arange(length)[None, :] < own[:, None]).to(device)
            real.append(None if int(own.min()) == length else mask[:, None, None, :])
            first += count
        tensors = (torch.from_numpy(array).to(device) for array in (index, inverse, padding))
        return cls(tuple(groups), tuple(real), *tensors)


_LIKE_LENGTH = 0.75


class _Place(torch.autograd.Function):
    """[tokens, ...] → [padded tokens, ...]; padding gets some token's values, and gives no gradient."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return states.index_select(0, layout.index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].index_select(0, ctx.layout.inverse), None


class _Collect(torch.autograd.Function):
    """[padded tokens, ...] → [tokens, ...]; the gradient of padding is zero."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return states.index_select(0, layout.inverse)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].index_select(0, ctx.layout.index).index_fill_(0, ctx.layout.padding, 0), None


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
    return _attend_in_groups(query, key, value, documents, dropout, scaling, causal, sliding_window), None


def _attend_in_groups(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents,
    dropout: float, scaling: float | None, causal: bool, sliding_window: int | None,
) -> Tensor:  # fmt: skip
    """Documents of like length in one call, padded on the right: a causal query never looks there, to others
    it is masked."""
    layout = documents.layout
    sizes = [count * length for count, length in layout.groups]
    grouped = query.shape[1] != key.shape[1]
    placed = (
        _Place.apply(states[0].transpose(0, 1), layout)  # type: ignore[no-untyped-call]
        for states in (query, key, value)
    )
    outputs = []
    for (count, length), real, *parts in zip(
        layout.groups, layout.real, *(torch.split(states, sizes) for states in placed), strict=True
    ):
        q, k, v = (part.unflatten(0, (count, length)).transpose(1, 2) for part in parts)
        mask = _window_mask(length, sliding_window, causal, q.device)
        if not causal and real is not None:
            itself = torch.eye(length, dtype=torch.bool, device=q.device)  # padding must see something
            mask = real.expand(-1, -1, length, -1) if mask is None else mask & real | itself
        output = F.scaled_dot_product_attention(
            q, k, v,
            attn_mask=mask, dropout_p=dropout, is_causal=causal and mask is None, scale=scaling,
            enable_gqa=grouped,
        )  # fmt: skip
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return _Collect.apply(torch.cat(outputs), layout)[None]  # type: ignore[no-any-return, no-untyped-call]


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
