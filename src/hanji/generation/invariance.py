"""Batch invariance: a token's numbers are the same to the bit, whatever goes through the model with it.

On a CPU most of a pass has it by itself: products by packed weights (from two rows on), norms, attention by
slot. Elementwise functions have not. PyTorch computes them in vectors, and what is left over at the end of a
thread's share one by one; an exponential then has another last bit. So within a pass activations are computed
in shares that leave nothing over, and rotary embeddings are looked up in a table. Whether that does for a
model is tried with it (`decoders.is_invariant`).

He et al. 2025, "Defeating Nondeterminism in LLM Inference", describe the same for kernels of GPUs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2CLS

from hanji.generation.slots import is_stepping

VECTOR = 64
"""Numbers that the loop of elementwise functions takes at once, in fp32 with AVX-512 (AVX2: half)."""
GRAIN = 32768
"""Numbers from which on a thread more is used (`at::internal::GRAIN_SIZE`)."""
GELU_GRAIN = 16384
"""The same of PyTorch's GELU, which then uses every thread."""
_ACTIVATIONS = (
    nn.GELU,
    nn.SiLU,
    *(given[0] if isinstance(given, tuple) else given for given in ACT2CLS.values()),
)
_CHANGING = {"dynamic", "longrope"}
"""Rotary embeddings whose frequencies depend on the longest row."""


@contextmanager
def invariant(model: nn.Module, places: int) -> Iterator[None]:
    """Inside, the model's activations and rotary embeddings are batch-invariant in passes over slots.

    Args:
        places: that a row has at most.
    """
    with ExitStack() as lent:
        for module in model.modules():
            if "forward" in vars(module):
                continue
            if isinstance(module, _ACTIVATIONS):
                _lend(lent, module, _in_vectors)
            elif type(module).__name__.endswith("RotaryEmbedding") and not _changes(module):
                _lend(lent, module, _from_table(places))
        yield


def in_vectors(function: Callable[[Tensor], Tensor], read: Tensor) -> Tensor:
    """An elementwise function, each number of which is computed in a whole vector."""
    flat, found, at = read.reshape(-1), [], 0
    while at < len(flat):
        share = _share(len(flat) - at)
        if share == len(flat):
            return function(read)
        part = flat[at : at + share]
        if len(part) < share:
            part = torch.cat([part, part.new_zeros(share - len(part))])
        found.append(function(part))
        at += share
    return torch.cat(found)[: len(flat)].view(read.shape) if found else function(read)


def _share(left: int) -> int:
    """Numbers that threads divide without a rest, as many as there are; at the end, those of a vector."""
    every = torch.get_num_threads()
    for threads in range(min(every, -(-left // GRAIN)), 0, -1):
        unit = VECTOR * (math.lcm(threads, every) if left > GELU_GRAIN else 1)
        share = left // unit * unit
        if -(-share // GRAIN) >= threads:
            return share
    return VECTOR


def _lend(lent: ExitStack, module: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    own, other = module.forward, wrap(module.forward)

    def forward(*inputs: Any, **named: Any) -> Any:
        whose = other if is_stepping() and not torch.compiler.is_compiling() else own
        return whose(*inputs, **named)

    module.forward = forward
    lent.callback(vars(module).pop, "forward")


def _in_vectors(own: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda read: in_vectors(own, read)


def _from_table(places: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Cosines and sines of all places, computed once."""

    def wrap(own: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
        tables: dict[Any, tuple[Tensor, ...]] = {}

        def forward(read: Tensor, position_ids: Tensor, *kind: Any, **named: Any) -> tuple[Tensor, ...]:
            key = (kind, tuple(named.items()), read.dtype)
            if key not in tables:
                every = torch.arange(places, device=read.device)[None]
                tables[key] = own(read, every, *kind, **named)
            return tuple(table[0][position_ids] for table in tables[key])

        return forward

    return wrap


def _changes(module: Any) -> bool:
    kind = getattr(module, "rope_type", "default")
    return bool(_CHANGING & set(kind.values() if isinstance(kind, dict) else [kind]))
