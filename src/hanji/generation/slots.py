"""Keys and values of many requests in one fixed cache: a slot for each request, at a place of its own.

Rows of a batch are slots. Each writes at its own position, so requests of any length share one step, and one
that ends leaves a slot that the next can take at once. Works with every architecture of transformers that
reads its attention and its masks from `AttentionInterface`, under the name `hanji_slots`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

SLOT_ATTENTION = "hanji_slots"


@dataclass(frozen=True, slots=True)
class Step:
    """Where the tokens of one forward pass stand.

    Attributes:
        slots: the slot whose prompt is read, or None where every slot takes one token.
        positions: [rows, tokens] int64, the place of each token in its row.
        writes: [rows, tokens] int64, where its keys and values go: `positions`, or the spare place of a slot
            that is idle.
        length: how much of the cache is looked at.
        lengths: of each row how much it may look at itself; 0 where the slot is idle. Empty where a prompt is
            read.
        seen: of masks that came by, by identity, which rows may look at all places of theirs.
    """

    slot: int | None
    positions: Tensor
    writes: Tensor
    length: int
    lengths: tuple[int, ...] = ()
    seen: dict[int, list[bool]] = field(default_factory=dict)


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


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer: [slots, key heads, places + 1, head size]; the last place is spare."""

    is_sliding = False

    def __init__(self, slots: int, places: int) -> None:
        super().__init__()
        self.slots, self.places = slots, places

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Takes memory, as the first keys and values ask; zeros, for what is hidden must be finite."""
        for name, states in (("keys", key_states), ("values", value_states)):
            shape = (self.slots, states.shape[1], self.places + 1, states.shape[3])
            setattr(self, name, states.new_zeros(shape))
        self.rows = torch.arange(self.slots, device=key_states.device)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes [rows, key heads, tokens, head size], and gives what the rows may look at."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        step = current_step()
        assert self.keys is not None and self.values is not None
        found = []
        for kept, states in ((self.keys, key_states), (self.values, value_states)):
            if step.slot is None:
                kept[self.rows, :, step.writes[:, 0]] = states[:, :, 0]
                found.append(kept[:, :, : step.length])
            else:
                kept[step.slot, :, step.length - states.shape[2] : step.length] = states[0]
                found.append(kept[step.slot : step.slot + 1, :, : step.length])
        return found[0], found[1]

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
    """[rows, 1, tokens, places] bool: what each token may look at, by the model's own rule for its layer."""
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
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **extra: Any,
) -> tuple[Tensor, None]:
    """Scaled-dot-product attention; by hand where scores are capped or sinks take part of the attention.

    Args:
        query: [rows, heads, tokens, head size]; `key` and `value` may have fewer heads (grouped queries).

    Returns:
        [rows, tokens, heads, head size], and None for the weights.
    """
    if softcap is None and s_aux is None:
        step = current_step()
        if step.lengths and query.device.type == "cpu" and extra.get("position_bias") is None:
            return _row_by_row(query, key, value, attention_mask, scaling, step), None
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=0.0, scaling=scaling, **extra
        )
        return output, None
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, float("-inf"))
    if s_aux is not None:
        sinks = s_aux.reshape(1, -1, 1, 1).expand(query.shape[0], -1, query.shape[2], -1)
        scores = torch.cat([scores, sinks.to(scores.dtype)], -1)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    if s_aux is not None:
        weights = weights[..., :-1]
    return (weights @ value).transpose(1, 2), None


def _row_by_row(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None, step: Step
) -> Tensor:
    """One token of each row over that row's own places: what the longest neighbour has is not read.

    On a CPU this halves the time of rows of uneven length, and a row's bits cannot depend on its neighbours.
    Heads that share a key are looked up together, as if they were tokens (grouped queries).
    """
    rows, heads, _, size = query.shape
    sharing = key.shape[1]
    queries = query.reshape(rows, 1, sharing, heads // sharing, size).unbind()
    keys, values = key.unsqueeze(1).unbind(), value.unsqueeze(1).unbind()
    whole = _whole_rows(mask, step)
    found = []
    for row, length in enumerate(step.lengths):
        if not length:
            found.append(query.new_zeros((1, sharing, heads // sharing, value.shape[3])))
            continue
        hidden = None if mask is None or whole[row] else mask[row : row + 1, :, :, :length]
        own, looked_up = keys[row].narrow(2, 0, length), values[row].narrow(2, 0, length)
        found.append(
            F.scaled_dot_product_attention(queries[row], own, looked_up, attn_mask=hidden, scale=scaling)
        )
    return torch.cat(found).reshape(rows, 1, heads, -1)


def _whole_rows(mask: Tensor | None, step: Step) -> list[bool]:
    """Which rows may look at all of their places; looked up once for the layers that share a mask."""
    if mask is None:
        return []
    if id(mask) not in step.seen:
        step.seen[id(mask)] = [
            bool(mask[row, 0, 0, :length].all()) if length else True
            for row, length in enumerate(step.lengths)
        ]
    return step.seen[id(mask)]


AttentionInterface.register(SLOT_ATTENTION, slot_attention)
AttentionMaskInterface.register(SLOT_ATTENTION, slot_mask)
