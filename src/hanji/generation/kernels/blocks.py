"""Whole layers of a decoder: where kernels know all of a layer's parts, nothing comes between them.

A pass of few tokens through a small layer takes its kernels some fifty microseconds, and PyTorch's modules,
views and hooks between them several hundred. Here a layer is one function over arrays. It calls the kernels
that its modules would call, in their order, so its numbers are theirs, to the bit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hanji.generation import kernels
from hanji.generation.kernels.layers import FusedLayers, drawn, is_on, tried
from hanji.generation.packed import Group, PackedLinears
from hanji.generation.slots import Segment, SlotCache, SlotLayer, Step, at, attend_rows, current_step

log = logging.getLogger(__name__)

_ROUNDING = 1e-4
"""Of the largest number that a layer gives."""
_NORMS = ("input_layernorm", "post_attention_layernorm")
_TRIED_AT = (0, 10**6)
"""Places of tokens: some layers scale queries far from the beginning."""
_LAYER = {"self_attn", "mlp", *_NORMS}
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_HEAD_NORMS = ("q_norm", "k_norm")


@dataclass(eq=False, slots=True)
class Block:
    """hidden + attention(norm(hidden)), and to that its own feed-forward network of its norm (Llama's layer).

    Attributes:
        norms: before attention, before the network, and where there are such, of each query and each key; all
            with their epsilon.
        gate: see `kernels.gate`.
        queries_keys_values, out, gate_and_up, down: the products.
        parts: its modules, each with those among which it stands and its name there. hooks: theirs. Where one
            has a hook, or another stands in its place, they compute it themselves.
        weights: of norms, with what else kernels are told of the layer, as they are while the first product
            has these panels.
    """

    attention: Any
    norms: list[tuple[Any, float]]
    gate: tuple[float, float]
    queries_keys_values: Group
    out: Group
    gate_and_up: Group
    down: Group
    parts: list[tuple[dict[str, nn.Module | None], str, nn.Module]]
    hooks: list[Any]
    weights: _Weights | None = None

    @property
    def size(self) -> int:
        """Of a head."""
        return int(self.attention.head_dim)

    def takes(self, hidden: Tensor, angles: Any, cache: Any) -> bool:
        """Whether it computes this pass, over this cache."""
        return (
            is_on(hidden)
            and isinstance(cache, SlotCache)
            and hidden.dim() == 3
            and len(hidden) == 1
            and self._kept(cache).arrays is not None
            and self._turns(angles) is not None
            and self._is_whole()
        )

    def _is_whole(self) -> bool:
        """Whether its modules would do no more and no less."""
        if any(self.hooks):
            return False
        return all(siblings.get(name) is part for siblings, name, part in self.parts)

    def compute(self, hidden: Tensor, mask: Tensor | None, angles: Any, cache: Any) -> Tensor:
        """[1, tokens, width] → [1, tokens, width]

        Args:
            mask: see `slot_attention`. angles: cosines and sines, [1, tokens, head size] both.
        """
        if self.weights is None or self.weights.panels is not self.queries_keys_values.panels:
            self.weights = self._told()
        (_, tokens, width), told, kept = hidden.shape, self.weights, self._kept(cache)
        rows, halves = hidden.numpy().reshape(tokens, width), kernels.halves_of_layers()
        kernels.share(tokens * told.first_work)
        query = halves.before_attention(
            rows, told.before, self.queries_keys_values.for_kernel(tokens), told.spans, told.heads,
            self._turns(angles), current_step().targets, kept.arrays,
        )  # fmt: skip
        seen = attend_rows(self.attention, query, kept, mask, self.attention.scaling)
        products = (group.for_kernel(tokens) for group in (self.out, self.gate_and_up, self.down))
        kernels.share(tokens * told.second_work)
        last = halves.after_attention(rows, seen, told.after, *products, told.factors)
        return torch.from_numpy(last.reshape(1, tokens, width))

    def _kept(self, cache: SlotCache) -> SlotLayer:
        kept: SlotLayer = cache.layers[self.attention.layer_idx]
        return kept

    def _turns(self, angles: Any) -> tuple[Any, Any] | None:
        """Cosines and sines, [tokens, head size]; None where they are of another form. Asked once a pass."""
        found = current_step().turns
        if id(angles) not in found:
            tokens = current_step().positions.shape[1]
            is_known = isinstance(angles, tuple) and all(
                each.shape == (1, tokens, self.size) and each.is_contiguous() for each in angles
            )
            found[id(angles)] = angles, tuple(each[0].numpy() for each in angles) if is_known else None
        turns: tuple[Any, Any] | None = found[id(angles)][1]
        return turns

    def _told(self) -> _Weights:
        norms = [(norm.weight.detach().numpy(), np.float32(epsilon)) for norm, epsilon in self.norms]
        none = (np.empty(0, np.float32), np.float32(0))
        (_, _), (keys_at, _), (values_at, _) = self.queries_keys_values.spans
        linear, cubic = self.gate
        return _Weights(
            self.queries_keys_values.panels, norms[0], norms[1], tuple(norms[2:]) or (none, none),
            (keys_at, values_at), (np.float32(linear), np.float32(cubic)),
            self.queries_keys_values.size // kernels.SUMS, self.gate_and_up.size // kernels.SUMS,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Weights:
    """What `halves` is told of a layer in every pass; see there.

    Attributes:
        panels: of the first product.
        first_work, second_work: for `kernels.share`, of one token.
    """

    panels: Any
    before: Any
    after: Any
    heads: Any
    spans: tuple[int, int]
    factors: Any
    first_work: int
    second_work: int


class FusedBlocks:
    """Layers of a model that are computed as `Block`s; none where they are of another kind.

    A layer is taken by what it gives: it must agree with the block on numbers drawn.

    Args:
        model: a causal model, in evaluation mode, whose weights are packed.
    """

    def __init__(self, model: nn.Module, fused: FusedLayers, packed: PackedLinears) -> None:
        self._blocks: list[tuple[Any, Block]] = []
        for module in model.modules():
            block = _block(module, fused, packed)
            if block is not None and all(_agrees(module, block, first) for first in _TRIED_AT):
                self._blocks.append((module, block))

    def __len__(self) -> int:
        return len(self._blocks)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside, passes over slots compute them so."""
        for module, block in self._blocks:
            module.forward = _forward_of(module, block)
        try:
            yield
        finally:
            for module, _ in self._blocks:
                del module.forward


def _forward_of(module: Any, block: Block) -> Any:
    own = module.forward

    def forward(hidden_states: Tensor, *inputs: Any, **named: Any) -> Any:
        angles: Any = named.get("position_embeddings")
        cache = named.get("past_key_values")
        if not inputs and block.takes(hidden_states, angles, cache):
            return block.compute(hidden_states, named.get("attention_mask"), angles, cache)
        return own(hidden_states, *inputs, **named)

    return forward


def _block(module: nn.Module, fused: FusedLayers, packed: PackedLinears) -> Block | None:
    """A layer by its modules, if it has those of such a block."""
    parts = dict(module.named_children())
    if set(parts) != _LAYER or "forward" in vars(module):
        return None
    attention, network = parts["self_attn"], parts["mlp"]
    linear = dict(attention.named_children())
    head_norms = [linear.pop(name) for name in _HEAD_NORMS if name in linear]
    norms = [(norm, fused.epsilon(norm)) for norm in (*(parts[name] for name in _NORMS), *head_norms)]
    gate = fused.gate(network)
    if set(linear) != set(_ATTENTION) or gate is None or any(epsilon is None for _, epsilon in norms):
        return None
    known = len(head_norms) in (0, 2) and all(
        hasattr(attention, name) for name in ("head_dim", "scaling", "layer_idx")
    )
    groups = [
        packed.group(*modules)
        for modules in (
            [linear[name] for name in _ATTENTION[:3]], [linear["o_proj"]],
            [network.gate_proj, network.up_proj], [network.down_proj],
        )
    ]  # fmt: skip
    if not known or any(group is None or group.panels is None for group in groups):
        return None
    if not _fit(attention.head_dim, [norm for norm, _ in norms], *groups):  # type: ignore[arg-type]
        return None
    inner = list(module.modules())
    hooks = [each for one in inner for each in (one._forward_hooks, one._forward_pre_hooks)]
    return Block(attention, norms, gate, *groups, _parts(module), hooks)  # type: ignore[arg-type, call-arg]


def _fit(size: int, norms: list[Any], together: Group, out: Group, gate_and_up: Group, down: Group) -> bool:
    """Whether each part is as wide as the next reads: kernels do not look."""
    (_, queries), (_, keys), (_, values) = together.spans
    before, after, *heads = (len(norm.weight) for norm in norms)
    return (
        keys == values and queries % keys == keys % size == 0
        and out.reads == queries and gate_and_up.width == 2 * down.reads
        and before == after == together.reads == gate_and_up.reads == out.width == down.width
        and all(width == size for width in heads)
    )  # fmt: skip


def _parts(module: nn.Module) -> list[tuple[dict[str, nn.Module | None], str, nn.Module]]:
    return [
        (parent._modules, name, child)
        for parent in module.modules()
        for name, child in parent._modules.items()
        if child is not None
    ]


@torch.inference_mode()
def _agrees(module: Any, block: Block, first: int) -> bool:
    """Whether the layer gives what the block does: three tokens, each of which sees those before it.

    Args:
        first: the place of the first.
    """
    tokens, size = 3, block.size
    hidden = drawn(1, tokens, len(block.norms[0][0].weight))
    angles = drawn(1, tokens, size // 2).repeat(1, 1, 2)
    turns = (angles.cos(), angles.sin())
    places = torch.arange(tokens)
    positions = (places + first)[None]
    hides = torch.full((1, 1, tokens, tokens), torch.finfo(torch.float32).min).triu(1)
    expected = tried(
        module, hidden, attention_mask=hides, position_embeddings=turns, position_ids=positions,
        past_key_values=None,
    )  # fmt: skip
    if not isinstance(expected, Tensor) or expected.shape != hidden.shape:
        return False
    shared = block.queries_keys_values.spans[1][1] // size
    cache, empty = SlotCache(block.attention.layer_idx + 1, 1, tokens), torch.zeros((1, shared, 1, size))
    block._kept(cache).lazy_initialization(empty, empty)
    segments = (Segment(0, 0, tokens, tokens),)
    step = Step(positions, torch.zeros_like(places), places, tokens, segments)
    with at(step):
        found = tried(block.compute, hidden, hides == 0, turns, cache)
    if found is None or found.shape != expected.shape:
        return False
    return float((found - expected).abs().max()) <= _ROUNDING * float(expected.abs().max())
