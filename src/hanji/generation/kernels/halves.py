"""A decoder layer in two kernels, before and after attention, which call the kernels of its parts.

Between kernels that take five microseconds each, Python and the arrays made for them take ten. What is small
is done by one thread here, without waking others. Imported only where Numba is installed.

A product is given as (weights in panels, bias, width), and what `add_low_rank` is told of adapters. A norm is
given as its weights and epsilon.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from hanji.generation import kernels
from hanji.generation.kernels import SMALL, compiled, products
from hanji.generation.kernels.compiled import (
    add_low_rank,
    gate,
    gate_row,
    keep,
    keep_row,
    kept,
    norm_row,
    rms_norm,
    rotate,
    rotate_row,
    single,
    whole,
    within,
)
from hanji.generation.kernels.products import multiply

_CALLED = sha256(
    b"".join(Path(str(module.__file__)).read_bytes() for module in (kernels, compiled, products))
)


def _with_called(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a kernel, kept under a name that changes with what it calls: Numba does not look at that."""
    function.__qualname__ += f"_{_CALLED.hexdigest()[:8]}"
    return kept(function)


@within
def _normalised(rows, norm):  # type: ignore[no-untyped-def]
    weight, epsilon = norm
    found = np.empty(rows.shape, single)
    if rows.size <= SMALL:
        for number in range(len(rows)):
            norm_row(rows[number], weight, epsilon, found[number])
    else:
        rms_norm(rows, weight, epsilon, found)
    return found


@within
def _multiplied(rows, product):  # type: ignore[no-untyped-def]
    """[tokens, in] → [tokens, out]"""
    (packed, bias, out), added = product
    found = np.empty((len(rows), out), single)
    multiply(rows.reshape(rows.size), rows.shape[1], packed, bias, found)
    if len(added[0]) > 0:
        add_low_rank(rows, found, *added)
    return found


@within
def _normalised_heads(part, norm, size):  # type: ignore[no-untyped-def]
    """[tokens, heads * size], flat, each head by itself."""
    heads = np.ascontiguousarray(part).reshape(part.size // size, size)
    return _normalised(heads, norm).reshape(part.size)


@within
def _turn_and_keep(query, key, value, strides, angles, targets, cache, found):  # type: ignore[no-untyped-def]
    """Writes turned queries to `found`, [tokens, heads, size], and turned keys and values to the cache.

    query, key, value: flat, from the first number on. strides: how far their rows are apart.
    """
    (cosines, sines), (slots, places), (keys, values) = angles, targets, cache
    sharing, (tokens, size) = keys.shape[1], cosines.shape
    turned = np.empty((tokens, sharing, size), single)
    flat = turned.reshape(turned.size)
    if found.size <= SMALL:
        for number in range(tokens):
            cosine, sine = cosines[number], sines[number]
            rotate_row(query[number * strides[0] :], cosine, sine, found[number])
            rotate_row(key[number * strides[1] :], cosine, sine, turned[number])
            own = flat[number * sharing * size :], value[number * strides[2] :]
            keep_row(*own, slots[number], places[number], keys, values)
    else:
        rotate(query, strides[0], key, strides[1], cosines, sines, found, turned)
        keep(flat, sharing * size, value, strides[2], slots, places, keys, values)


@within
def _gated(product, factors):  # type: ignore[no-untyped-def]
    """[tokens, width] of [tokens, gates and ups]."""
    (tokens, stride), (linear, cubic) = product.shape, factors
    width, flat = stride // 2, product.reshape(tokens * stride)
    found = np.empty((tokens, width), single)
    if found.size <= SMALL:
        powers = np.empty(width, whole)
        for number in range(tokens):
            read = flat[number * stride :]
            gate_row(read, read[width:], linear, cubic, found[number], powers)
    else:
        gate(flat, stride, flat[width:], stride, linear, cubic, found)
    return found


@within
def _add(rows, found):  # type: ignore[no-untyped-def]
    """To `found`; both [tokens, width]."""
    for number in range(len(rows)):
        for index in range(rows.shape[1]):
            found[number, index] += rows[number, index]


@_with_called
def before_attention(rows, norm, product, spans, head_norms, angles, targets, cache):  # type: ignore[no-untyped-def]
    """Keeps keys and values of [tokens, width], and gives queries, [tokens, heads, size].

    product: of queries, keys and values. spans: where keys and values begin in it. head_norms: of queries and
    of keys; without weights where there are none. angles: cosines and sines, [tokens, size]. targets: slots
    and places of the tokens. cache: keys and values, see `keep`.
    """
    whole_product = _multiplied(_normalised(rows, norm), product)
    (keys_at, values_at), (query_norm, key_norm) = spans, head_norms
    (tokens, width), size = whole_product.shape, angles[0].shape[1]
    flat, found = whole_product.reshape(tokens * width), np.empty((tokens, keys_at // size, size), single)
    query, key, strides = flat, flat[keys_at:], (width, width, width)
    if len(query_norm[0]) > 0:
        query = _normalised_heads(whole_product[:, :keys_at], query_norm, size)
        key = _normalised_heads(whole_product[:, keys_at:values_at], key_norm, size)
        strides = keys_at, values_at - keys_at, width
    _turn_and_keep(query, key, flat[values_at:], strides, angles, targets, cache, found)
    return found


@_with_called
def after_attention(rows, seen, norm, out, gate_and_up, down, factors):  # type: ignore[no-untyped-def]
    """What a layer gives, [tokens, width], of what it was given, and what attention saw.

    norm: before the network. out, gate_and_up, down: products. factors: see `gate`.
    """
    found = _multiplied(seen, out)
    _add(rows, found)
    last = _multiplied(_gated(_multiplied(_normalised(found, norm), gate_and_up), factors), down)
    _add(found, last)
    return last
