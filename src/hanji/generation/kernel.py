"""Attention of one token a slot, compiled by Numba where that is installed (the extra `fast`).

PyTorch has one call a slot for this, and on a CPU those calls take half as long as all products together.
Here threads share tokens and key heads among them. Each is computed by one thread, in an order that depends
on nothing else, so it is batch-invariant.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger(__name__)

Kernel = Callable[..., None]


def kernel_for(query: Tensor, key: Tensor, value: Tensor) -> Kernel | None:
    """What computes attention for such tensors; None where PyTorch has to.

    Args:
        query: [1, heads, tokens, head size]. key, value: [slots, key heads, places, head size].
    """
    kinds = {(each.device.type, each.dtype) for each in (query, key, value)}
    if kinds != {("cpu", torch.float32)} or key.shape != value.shape:
        return None
    return _compiled(query.shape[1] // key.shape[1], key.shape[3])


def attend(
    kernel: Kernel,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    where: Any,
    scaling: float | None,
    found: Tensor,
) -> None:
    """Writes what some tokens see to `found`, [tokens, heads, head size].

    Args:
        where: [4, n] int64: places of the tokens in the pass, their slots, and the places they look at: from
            the first up to, but not with, the last.
    """
    rows = query[0].transpose(0, 1).contiguous()
    scale = np.float32(key.shape[3] ** -0.5 if scaling is None else scaling)
    kernel(rows.numpy(), key.numpy(), value.numpy(), *where, scale, found.numpy())


@cache
def _compiled(groups: int, size: int) -> Kernel | None:
    """For so many heads that share a key, of this size; tried once."""
    if "numba" not in sys.modules:  # as many threads as PyTorch has, rather than one for each core
        os.environ.setdefault("NUMBA_NUM_THREADS", str(torch.get_num_threads()))
    try:
        import numba
    except ImportError:
        return None
    log.info("compiling attention for heads of %s (once, then it is cached)", size)
    try:
        kernel = _compile(numba, groups, size)
        rows, none = np.zeros((1, groups, size), np.float32), np.zeros((1, 1, 1, size), np.float32)
        one = np.ones(1, np.int64)
        kernel(rows, none, none, one - 1, one - 1, one - 1, one, np.float32(1), rows)
        if numba.threading_layer() != "workqueue":
            return kernel
        problem = "its threads serve one caller only here"
    except Exception as error:  # a compiler may fail in any way, and PyTorch is always there
        first, *_ = str(error).splitlines() or [""]
        problem = f"{type(error).__name__}: {first[:200]}"
    log.info("attention is not compiled by Numba: %s", problem)
    return None


def _compile(numba: Any, groups: int, size: int) -> Kernel:
    """`groups` and `size` are constants, so that loops are unrolled."""
    single = np.float32

    def one_token_each(query, keys, values, firsts, slots, begins, ends, scale, found):  # type: ignore[no-untyped-def]
        sharing = keys.shape[1]
        for number in numba.prange(len(firsts) * sharing):
            one, head = number // sharing, number % sharing
            begin, count = begins[one], ends[one] - begins[one]
            own = query[firsts[one], head * groups : (head + 1) * groups]
            key, value = keys[slots[one], head, begin:], values[slots[one], head, begin:]
            weights = np.empty((groups, count), single)
            powers = np.empty(count, np.int32)
            factors = powers.view(single)
            sums = np.zeros((groups, size), single)
            for place in range(count):
                for group in range(groups):
                    score = single(0)
                    for index in range(size):
                        score += own[group, index] * key[place, index]
                    weights[group, place] = score * scale
            for group in range(groups):
                largest, total = single(-3e38), single(0)
                for place in range(count):
                    largest = max(largest, weights[group, place])
                    total += weights[group, place] * single(0)  # NaN if any score is not finite
                # exp(x) is 2^k for a whole k, by its bits, times a series of what is left
                for place in range(count):
                    binary = max((weights[group, place] - largest) * single(1.44269504), single(-126))
                    whole = np.int32(binary - single(0.5))
                    rest = (binary - single(whole)) * single(0.69314718)
                    series = single(1 / 24) + rest * (single(1 / 120) + rest * single(1 / 720))
                    series = single(0.5) + rest * (single(1 / 6) + rest * series)
                    weights[group, place] = single(1) + rest * (single(1) + rest * series)
                    powers[place] = (whole + np.int32(127)) << np.int32(23)
                for place in range(count):
                    weights[group, place] *= factors[place]
                    total += weights[group, place]
                for place in range(count):
                    weights[group, place] /= total
            for place in range(count):
                for group in range(groups):
                    for index in range(size):
                        sums[group, index] += weights[group, place] * value[place, index]
            found[firsts[one], head * groups : (head + 1) * groups] = sums

    fast = {"reassoc", "contract", "nsz", "arcp", "afn"}
    compiler = partial(numba.njit, parallel=True, fastmath=fast, boundscheck=False, error_model="numpy")
    try:
        kernel = compiler(cache=True)(one_token_each)
    except RuntimeError:  # there is nowhere to keep it
        kernel = compiler()(one_token_each)

    def run(*arguments: Any) -> None:
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        kernel(*arguments)

    return run
