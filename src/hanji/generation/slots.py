"""Keys and values of many requests in one fixed cache: a slot for each request, at a place of its own.

A pass takes tokens of several slots through the model, laid side by side in one row: the last token of an
answer, many of a prompt. Each is written at its own place of its own slot, so requests of any length share a
pass, and one that ends leaves a slot that the next can take at once. Works with every architecture of
transformers that reads its attention and its masks from `AttentionInterface`, under the name `hanji_slots`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from hanji.generation import kernels

SLOT_ATTENTION = "hanji_slots"


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens of one slot that stand side by side in a pass.

    Attributes:
        first: where the first of them stands in the pass.
        tokens: how many they are.
        end: how many places of the slot there are up to the last of them.
    """

    slot: int
    first: int
    tokens: int
    end: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a mask lets the tokens of a pass see.

    Attributes:
        mask: itself, so that no other has its identity.
        begins: of each token, from which place on it sees all up to its own; -1 where there are gaps.
        ones: segments of one token without gaps. others: those that are left.
        where: [4, ones] int64: their `first`, slot, begin and end. looked_at: how many places that are.
    """

    mask: Tensor | None
    begins: list[int]
    ones: list[Segment]
    others: list[Segment]
    where: np.ndarray[Any, np.dtype[np.int64]]
    looked_at: int


@dataclass(frozen=True)
class Step:
    """Where the tokens of one forward pass stand.

    Attributes:
        positions: [1, tokens] int64, the place of each token in its row.
        slots: [tokens] int64, whose they are.
        writes: [tokens] int64, where keys and values go: the positions, or a slot's spare place for a token
            that belongs to nobody.
        length: places that the mask covers.
        segments: the tokens by slot, each looked at by itself; what is in none belongs to nobody. None: every
            slot has one token, in their order, and one kernel looks at all of them.
        seen: what masks that came by let see, by their identity.
        turns: cosines and sines as arrays, with what they were made of, by its identity.
    """

    positions: Tensor
    slots: Tensor
    writes: Tensor
    length: int
    segments: tuple[Segment, ...] | None = None
    seen: dict[int, _Seen] = field(default_factory=dict)
    turns: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    @cached_property
    def targets(self) -> tuple[Any, Any]:
        """`slots` and `writes` as arrays."""
        return self.slots.numpy(), self.writes.numpy()

    @cached_property
    def is_covered(self) -> bool:
        """Whether every token is in a segment."""
        return sum(one.tokens for one in self.segments or ()) == self.positions.shape[1]

    @cached_property
    def at_work(self) -> frozenset[int]:
        """The slots that have tokens in the pass."""
        return frozenset(one.slot for one in self.segments or ())

    @cached_property
    def ones(self) -> tuple[Tensor, Tensor]:
        """Of segments of one token: where they stand in the pass, and their slots, both [segments] int64."""
        assert self.segments is not None
        pairs = [(one.first, one.slot) for one in self.segments if one.tokens == 1]
        firsts, slots = torch.tensor(pairs, dtype=torch.int64, device=self.slots.device).reshape(-1, 2).t()
        return firsts, slots

    @cached_property
    def leading(self) -> int:
        """From slot 0 on, how many begin the pass with a token each, in their order; 0 if others have one."""
        firsts, slots = (each.tolist() for each in self.ones)
        return len(slots) if slots == firsts == list(range(len(slots))) else 0


class _Now(threading.local):
    """The step of this thread's forward pass."""

    step: Step | None = None


_now = _Now()


@contextmanager
def at(step: Step) -> Iterator[None]:
    """Within it, a forward pass reads and writes the cache as `step` says."""
    before, _now.step = _now.step, step
    try:
        yield
    finally:
        _now.step = before


def current_step() -> Step:
    """The step of the forward pass that runs now."""
    step = _now.step
    assert step is not None
    return step


def is_stepping() -> bool:
    """Whether a forward pass over slots runs now, rather than one of somebody else."""
    return _now.step is not None


def is_in_segments() -> bool:
    """Whether one runs in which each slot is looked at by itself."""
    return _now.step is not None and _now.step.segments is not None


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer: [slots, key heads, places + 1, head size]; the last place is spare.

    Attributes:
        arrays: both, where kernels use them.
    """

    is_sliding = False
    arrays: tuple[Any, Any] | None = None

    def __init__(self, slots: int, places: int) -> None:
        super().__init__()
        self.slots, self.places = slots, places

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Takes memory, as the first keys and values ask; zeros, for what is hidden must be finite."""
        for name, states in (("keys", key_states), ("values", value_states)):
            shape = (self.slots, states.shape[1], self.places + 1, states.shape[3])
            setattr(self, name, states.new_zeros(shape))
        if kernels.usable(key_states, value_states):
            self.arrays = self.keys.numpy(), self.values.numpy()
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes [1, key heads, tokens, head size], and gives what attention looks at."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        step = current_step()
        assert self.keys is not None and self.values is not None
        if step.segments is not None and kernels.usable(key_states, value_states):
            kernels.keep(key_states, value_states, *step.targets, self.keys, self.values)
        else:
            for kept, states in ((self.keys, key_states), (self.values, value_states)):
                kept[step.slots, :, step.writes] = states[0].transpose(0, 1)
        if step.segments is None:
            return self.keys[:, :, : step.length], self.values[:, :, : step.length]
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys there are, and the position of the first."""
        return current_step().length, 0

    def get_seq_length(self) -> int:
        """Not asked for where positions are given."""
        step = _now.step
        return 0 if step is None else step.length

    def get_max_length(self) -> int:
        """Places of a slot."""
        return self.places


class SlotCache(Cache):  # type: ignore[misc]
    """The cache of a model: `layers` of slots.

    Args:
        layers: how many the model has.
        slots: requests at a time.
        places: tokens that one may have, prompt and answer together.
    """

    def __init__(self, layers: int, slots: int, places: int) -> None:
        super().__init__(layers=[SlotLayer(slots, places) for _ in range(layers)])
        self.slots, self.places = slots, places

    def read(self, slot: int, start: int, end: int) -> list[tuple[Tensor, Tensor]]:
        """A copy of the keys and values between two places, of each layer [key heads, places, head size]."""
        return [
            (layer.keys[slot, :, start:end].clone(), layer.values[slot, :, start:end].clone())
            for layer in self.layers
        ]

    def write(self, slot: int, start: int, states: list[tuple[Tensor, Tensor]]) -> None:
        """Puts back what `read` gave, of this slot or another."""
        for layer, (keys, values) in zip(self.layers, states, strict=True):
            layer.keys[slot, :, start : start + keys.shape[1]] = keys
            layer.values[slot, :, start : start + keys.shape[1]] = values

    def clear(self, slot: int) -> None:
        """Forgets a slot with values that are not finite: even hidden ones would spread, times zero."""
        for layer in self.layers:
            if layer.is_initialized:
                layer.keys[slot].zero_()
                layer.values[slot].zero_()

    @property
    def nbytes(self) -> int:
        """Bytes that are taken."""
        tensors = [t for layer in self.layers if layer.is_initialized for t in (layer.keys, layer.values)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def slot_mask(
    batch_size: int, q_length: int, kv_length: int, *_: Any, mask_function: Any, device: Any, **__: Any
) -> Tensor:
    """[1, 1, tokens, places] bool: what each token may look at, by the model's own rule for its layer."""
    step = current_step()
    rows = torch.arange(batch_size, device=device)[:, None, None, None]
    heads = torch.zeros(1, dtype=torch.int64, device=device)[None, :, None, None]
    keys = torch.arange(kv_length, device=device)[None, None, None, :]
    allowed = mask_function(rows, heads, step.positions[:, None, :, None], keys)
    return allowed.expand(batch_size, 1, q_length, kv_length)  # type: ignore[no-any-return]


def slot_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,  # noqa: ARG001 - always 0 here
    position_bias: Tensor | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Each token looks at places of its own slot.

    Args:
        query: [1, heads, tokens, head size].
        key: with `value`, what `SlotLayer.update` gave; they may have fewer heads (grouped queries).
        attention_mask: [1, 1, tokens, places] bool.
        position_bias: [1, heads, tokens, places], added to scores.
        settings: `scaling`, and where the architecture has them `softcap` and the sinks `s_aux`.

    Returns:
        [1, tokens, heads, head size], and None for the weights.
    """
    step, given = current_step(), (attention_mask, position_bias)
    if step.segments is None:
        mask, bias = (None if each is None else each.transpose(0, 2) for each in given)
        return _attend(module, query.transpose(0, 2), key, value, mask, bias, **settings).transpose(
            0, 1
        ), None
    seen, tokens = _seen(attention_mask, step), query.shape[2]
    is_plain = position_bias is None and settings.get("softcap") is None and settings.get("s_aux") is None
    ones, others = (seen.ones, seen.others) if is_plain else ([], step.segments)
    shape = (1, tokens, query.shape[1], value.shape[3])
    found = query.new_empty(shape) if step.is_covered else query.new_zeros(shape)
    if ones:
        scaling = settings.get("scaling")
        if key.shape == value.shape and kernels.usable(query, key, value):
            rows = query[0].transpose(0, 1).contiguous()
            kept = (key.numpy(), value.numpy())
            kernels.attend(rows.numpy(), *kept, seen.where, seen.looked_at, scaling, found[0].numpy())
        else:
            rows = _one_token_each(query, key, value, seen, scaling)
            if len(ones) == tokens:
                return rows[None], None
            found[0, seen.where[0]] = rows
    for one in others:
        place = slice(one.first, one.first + one.tokens)
        mask, bias = (None if each is None else each[:, :, place, : one.end] for each in given)
        if one.tokens in (1, one.end) and not any(seen.begins[place]):
            mask = None  # what is left is what attention does by itself: one sees all, many are causal
        keys, values = (each[one.slot : one.slot + 1, :, : one.end] for each in (key, value))
        found[:, place] = _attend(module, query[:, :, place], keys, values, mask, bias, **settings)
    return found, None


def attend_rows(module: nn.Module, query: Any, kept: SlotLayer, mask: Tensor | None, scaling: float) -> Any:
    """The same of arrays: queries, [tokens, heads, head size], become [tokens, heads * head size]."""
    step = current_step()
    seen = _seen(mask, step)
    if len(seen.ones) == len(query):
        found = np.empty_like(query)
        assert kept.arrays is not None
        kernels.attend(query, *kept.arrays, seen.where, seen.looked_at, scaling, found)
    else:
        tensor = torch.from_numpy(query).transpose(0, 1)[None]
        found = slot_attention(module, tensor, kept.keys, kept.values, mask, scaling=scaling)[0].numpy()
    return found.reshape(len(query), -1)


def _one_token_each(query: Tensor, key: Tensor, value: Tensor, seen: _Seen, scaling: float | None) -> Tensor:
    """[segments, heads, head size], of segments of one token.

    Heads that share a key are looked up together, as if they were tokens (grouped queries).
    """
    (_, heads, tokens, size), sharing, width = query.shape, key.shape[1], value.shape[3]
    queries = query.transpose(1, 2).reshape(tokens, 1, sharing, heads // sharing, size).unbind()
    steps, strides = key.stride(), value.stride()
    found = []
    for one in seen.ones:
        begin = seen.begins[one.first]
        count = one.end - begin
        own = key.as_strided((1, sharing, count, size), steps, one.slot * steps[0] + begin * steps[2])
        looked_up = value.as_strided(
            (1, sharing, count, width), strides, one.slot * strides[0] + begin * strides[2]
        )
        found.append(F.scaled_dot_product_attention(queries[one.first], own, looked_up, scale=scaling))
    return torch.cat(found).reshape(len(seen.ones), heads, width)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **extra: Any,
) -> Tensor:
    """Scaled-dot-product attention; by hand where scores are capped or sinks take part of the attention.

    Returns:
        [rows, tokens, heads, head size] for a query of [rows, heads, tokens, head size].
    """
    if softcap is None and s_aux is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, mask, dropout=0.0, scaling=scaling, position_bias=bias, **extra
        )
        return output  # type: ignore[no-any-return]
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if bias is not None:
        scores = scores + bias
    if mask is None and query.shape[2] > 1:
        mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    if s_aux is not None:
        sinks = s_aux.reshape(1, -1, 1, 1).expand(query.shape[0], -1, query.shape[2], -1)
        scores = torch.cat([scores, sinks.to(scores.dtype)], -1)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    if s_aux is not None:
        weights = weights[..., :-1]
    return (weights @ value).transpose(1, 2)


def _seen(mask: Tensor | None, step: Step) -> _Seen:
    """Asked once for the layers that share a mask."""
    assert step.segments is not None
    if id(mask) not in step.seen:
        if mask is None:  # one token sees all; of several it is not known
            begins = [-1] * step.positions.shape[1]
            for one in step.segments:
                if one.tokens == 1:
                    begins[one.first] = 0
        else:
            assert mask.dtype == torch.bool
            seen = mask[0, 0].cpu().numpy()
            first, count = seen.argmax(1), np.count_nonzero(seen, axis=1)
            sees_all = first + count == step.positions[0].cpu().numpy() + 1
            begins = np.where(sees_all, first, -1).tolist()
        ones, others = list[Segment](), list[Segment]()
        for one in step.segments:
            (ones if one.tokens == 1 and begins[one.first] >= 0 else others).append(one)
        rows = [(one.first, one.slot, begins[one.first], one.end) for one in ones]
        where = np.array(rows, np.int64).reshape(-1, 4).T.copy()
        step.seen[id(mask)] = _Seen(mask, begins, ones, others, where, int((where[3] - where[2]).sum()))
    return step.seen[id(mask)]


AttentionInterface.register(SLOT_ATTENTION, slot_attention)
AttentionMaskInterface.register(SLOT_ATTENTION, slot_mask)
