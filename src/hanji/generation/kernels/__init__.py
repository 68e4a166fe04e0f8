"""What Numba computes in a pass on a CPU, where it is installed (the extra `fast`): many small steps in one.

PyTorch has several calls for a norm, a rotary embedding or a gate, and one a slot for attention. With few
tokens a pass such calls take longer than what they compute: half as long as all products together. Here
tensors become arrays and arrays tensors; `compiled` has the kernels, `layers` lends them to a model.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

log = logging.getLogger(__name__)

SMALL = 2**16
"""Numbers up to which one thread does all: others would be waited for longer than they help."""
SUMS = 2
"""Multiplications of a product that take the time of one number elsewhere."""


NOTHING_ADDED = (
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty((1, 0), np.int64),
    np.empty((1, 0, 0, 0), np.float32), np.empty((1, 0, 0), np.float32), np.zeros(1, np.int64),
)  # fmt: skip
"""What `add_low_rank` is told where no token has an adapter."""


def usable(*tensors: Tensor) -> bool:
    """Whether kernels compute with such tensors."""
    fits = all(one.is_cpu and one.dtype == torch.float32 for one in tensors)
    return fits and _numba() is not None


def pack(weights: Tensor, bias: Tensor | None) -> tuple[Any, Any]:
    """Weights [out, in] and their bias [out], in panels as `multiply` wants them: arrays."""
    panel = product_kernels().PANEL
    missing = -len(weights) % panel
    packed = pad(weights, (0, 0, 0, missing)).view(-1, panel, weights.shape[1]).transpose(1, 2).contiguous()
    none = weights.new_zeros(len(weights)) if bias is None else bias.detach()
    return packed.numpy(), pad(none, (0, missing)).numpy()


def multiply(rows: Any, packed: Any, bias: Any, out: int) -> Any:
    """[rows, in] → [rows, out], arrays."""
    found = np.empty((len(rows), out), np.float32)
    share(rows.size * out // SUMS)
    product_kernels().multiply(rows.reshape(-1), rows.shape[1], packed, bias, found)
    return found


def attend(
    query: Any, keys: Any, values: Any, where: Any, looked_at: int, scaling: float | None, found: Any
) -> None:
    """Writes what some tokens see to `found`, [tokens, heads, head size]; arrays.

    Args:
        query: [tokens, heads, head size]. keys, values: [slots, key heads, places, head size].
        where: [4, n] int64: places of the tokens in the pass, their slots, and the places they look at: from
            the first up to, but not with, the last.
        looked_at: how many places that are, of all tokens.
    """
    _, heads, size = query.shape
    share(looked_at * heads * size)
    scale = np.float32(size**-0.5 if scaling is None else scaling)
    kernel = compiled_kernels().attention(heads // keys.shape[1], size)
    kernel(query, keys, values, where, scale, found)


def keep(
    keys: Tensor, values: Tensor, slots: Any, places: Any, kept_keys: Tensor, kept_values: Tensor
) -> None:
    """Writes [1, heads, tokens, size] to places of slots, [slots, heads, places, size]."""
    share(keys.numel() + values.numel())
    kept = (kept_keys.numpy(), kept_values.numpy())
    compiled_kernels().keep(*_rows(keys), *_rows(values), slots, places, *kept)


def rotate(query: Tensor, key: Tensor, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor]:
    """Rotary embedding of [1, heads, tokens, size] and [1, key heads, tokens, size] by [1, tokens, size]."""
    found = [each.new_empty((each.shape[2], each.shape[1], each.shape[3])) for each in (query, key)]
    share(query.numel() + key.numel())
    angles = (cosines[0].numpy(), sines[0].numpy())
    compiled_kernels().rotate(*_rows(query), *_rows(key), *angles, *(each.numpy() for each in found))
    rotated_query, rotated_key = (each.transpose(0, 1)[None] for each in found)
    return rotated_query, rotated_key


def rms_norm(read: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """[..., width]"""
    rows = read.reshape(-1, read.shape[-1])
    found = torch.empty_like(rows)
    share(rows.numel())
    given = (rows.contiguous().numpy(), weight.detach().numpy(), np.float32(epsilon))
    compiled_kernels().rms_norm(*given, found.numpy())
    return found.view(read.shape)


def gate(gates: Tensor, ups: Tensor, linear: float, cubic: float) -> Tensor:
    """x · sigmoid(linear · x · (1 + cubic · x²)) · up, of [1, tokens, width] both."""
    found = gates.new_empty(gates.shape)
    share(gates.numel())
    factors = (np.float32(linear), np.float32(cubic))
    compiled_kernels().gate(*_flat(gates), *_flat(ups), *factors, found[0].numpy())
    return found


def add_low_rank(
    rows: Any, found: Any, tokens: Any, numbers: Any, ranks: Any, down: Any, up: Any, begins: Any
) -> None:
    """Adds to tokens of `found`, [rows, out of all layers], what adapters make of `rows`, [rows, in]; arrays.

    Args:
        tokens, numbers: [n] int64, where they stand, and of which adapter each is.
        ranks: [adapters, layers] int64, multiples of `FOLD`. down: [adapters, layers, rank, in].
            up: [adapters, rank, out of all].
        begins: [layers + 1] int64, where each layer begins in `found`, and the end.
    """
    if not len(tokens):
        return
    share(len(tokens) * (down[0].size + up[0].size) // SUMS)
    compiled_kernels().add_low_rank(rows, found, tokens, numbers, ranks, down, up, begins)


def _flat(rows: Tensor) -> tuple[Any, int]:
    """The numbers of [1, tokens, width] from the first to the last, and how many lie between two rows."""
    _, tokens, width = rows.shape
    if rows.stride(2) != 1:
        rows = rows.contiguous()
    stride = rows.stride(1)
    return rows.as_strided(((tokens - 1) * stride + width,), (1,)).numpy(), stride


def _rows(states: Tensor) -> tuple[Any, int]:
    """The same of [1, heads, tokens, size], a token's heads side by side."""
    _, heads, tokens, size = states.shape
    if states.stride()[1:] != (size, states.stride(2), 1):
        states = states.transpose(1, 2).contiguous().transpose(1, 2)
    stride = states.stride(2)
    return states.as_strided(((tokens - 1) * stride + heads * size,), (1,)).numpy(), stride


def share(work: int) -> None:
    """Sets how many threads the next kernel of this thread has."""
    numba = _numba()
    most = 1 if work <= SMALL else min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    numba.np.ufunc.parallel._set_num_threads(most)  # the public function looks after locks first, for 15 µs


@cache
def _numba() -> Any:
    """Numba, where it compiles; None else. Tried once."""
    if "numba" not in sys.modules:  # as many threads as PyTorch has, rather than one for each core
        os.environ.setdefault("NUMBA_NUM_THREADS", str(torch.get_num_threads()))
    try:
        import numba
    except ImportError:
        return None
    log.info("compiling kernels (once, then they are cached)")
    try:
        _try_out()
        numba.np.ufunc.parallel._set_num_threads(1)
        if numba.threading_layer() != "workqueue":
            return numba
        problem = "its threads serve one caller only here"
    except Exception as error:  # a compiler may fail in any way, and PyTorch is always there
        first, *_ = str(error).splitlines() or [""]
        problem = f"{type(error).__name__}: {first[:200]}"
    log.info("nothing is compiled by Numba: %s", problem)
    return None


@cache
def compiled_kernels() -> ModuleType:
    """The kernels beside products; Numba is there."""
    return import_module("hanji.generation.kernels.compiled")


@cache
def halves_of_layers() -> ModuleType:
    """The kernels of whole layers; Numba is there."""
    return import_module("hanji.generation.kernels.halves")


@cache
def product_kernels() -> ModuleType:
    """The kernel of products; Numba is there."""
    return import_module("hanji.generation.kernels.products")


def _try_out() -> None:
    """Compiles each kernel but those of whole layers, for the arrays that it will be given."""
    kernels, one, first = compiled_kernels(), np.ones(2, np.float32), np.zeros(1, np.int64)
    states, kept = one.reshape(1, 1, 2), one.reshape(1, 1, 1, 2).copy()
    scale = np.float32(1)
    packed, bias = pack(torch.ones((1, 2)), None)
    product_kernels().multiply(one, 2, packed, bias, np.empty((1, 1), np.float32))
    kernels.attention(1, 2)(states, kept, kept, np.array([[0], [0], [0], [1]]), scale, states.copy())
    kernels.keep(one, 2, one, 2, first, first, kept, kept.copy())
    kernels.rotate(one, 2, one, 2, states[0], states[0], states.copy(), states.copy())
    kernels.rms_norm(states[0], one, scale, states[0].copy())
    kernels.gate(one, 2, one, 2, scale, scale, states[0].copy())
    ranks, begins, rows = np.zeros((1, 1), np.int64), np.array([0, 2]), states[0].copy()
    kernels.add_low_rank(rows, rows.copy(), first, first, ranks, kept, states, begins)
