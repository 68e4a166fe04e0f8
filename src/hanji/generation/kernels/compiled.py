"""The kernels themselves, compiled by Numba: arrays in, arrays out. Imported only where Numba is installed.

Each row is computed by one thread, in an order that depends on nothing else, so all are batch-invariant.
Rows of an array that is a part of another (queries in the product of queries, keys and values) are given as
`flat`, all numbers from the first to the last, and `stride`, how many lie between two rows: vectors of the
processor want numbers side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numba
import numpy as np

single, whole = np.float32, np.int32

FOLD = 4
"""Rows that are read together, so that what they are multiplied by is read once."""
_FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}
"""Liberties of the compiler; values that are not finite stay so."""


def kept(function: Callable[..., Any], *, is_parallel: bool = False) -> Callable[..., Any]:
    """Compiles a kernel for the arrays that it is called with, and keeps that on disk."""
    options = {"fastmath": _FAST, "boundscheck": False, "error_model": "numpy", "parallel": is_parallel}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # there is nowhere to keep it
        return numba.njit(**options)(function)  # type: ignore[no-any-return]


parallel = partial(kept, is_parallel=True)
"""Compiles a kernel whose `prange` is shared among threads."""
within = numba.njit(fastmath=_FAST, boundscheck=False, error_model="numpy")
"""Compiles what kernels call."""


@within
def exponentials(values, powers):  # type: ignore[no-untyped-def]
    """exp(x) of each, in place: 2^k for a whole k, by its bits, times a series of what is left.

    powers: room for as many int32. What is beyond 2^±126 becomes that.
    """
    factors = powers.view(single)
    for index in range(len(values)):
        binary = min(max(values[index] * single(1.44269504), single(-126)), single(126))
        power = whole(binary + single(127.5))  # above zero, so that cutting off rounds
        rest = (binary - single(power - whole(127))) * single(0.69314718)
        series = single(1 / 24) + rest * (single(1 / 120) + rest * single(1 / 720))
        series = single(0.5) + rest * (single(1 / 6) + rest * series)
        values[index] = single(1) + rest * (single(1) + rest * series)
        powers[index] = power << whole(23)
    for index in range(len(values)):
        values[index] *= factors[index]


@within
def _score(own, key, scale, weights, groups, size):  # type: ignore[no-untyped-def]
    """own: [groups, size]. key: [places, size]. weights: [groups, places]."""
    count = weights.shape[1]
    for group in range(groups):
        query, out = own[group], weights[group]
        for fold in range(0, count - FOLD + 1, FOLD):
            key0, key1, key2, key3 = key[fold], key[fold + 1], key[fold + 2], key[fold + 3]
            sum0, sum1, sum2, sum3 = single(0), single(0), single(0), single(0)
            for index in range(size):
                sum0 += query[index] * key0[index]
                sum1 += query[index] * key1[index]
                sum2 += query[index] * key2[index]
                sum3 += query[index] * key3[index]
            out[fold], out[fold + 1], out[fold + 2], out[fold + 3] = sum0, sum1, sum2, sum3
        for place in range(count - count % FOLD, count):
            one, total = key[place], single(0)
            for index in range(size):
                total += query[index] * one[index]
            out[place] = total
        for place in range(count):
            out[place] *= scale


@within
def _normalise(weights, powers):  # type: ignore[no-untyped-def]
    """Softmax of one head's scores, in place."""
    largest, total = single(-3e38), single(0)
    for place in range(len(weights)):
        largest = max(largest, weights[place])
        total += weights[place] * single(0)  # NaN if any score is not finite
    for place in range(len(weights)):
        weights[place] -= largest
    exponentials(weights, powers)
    for place in range(len(weights)):
        total += weights[place]
    for place in range(len(weights)):
        weights[place] /= total


@within
def _mix(weights, value, sums, groups, size):  # type: ignore[no-untyped-def]
    """weights: [groups, places]. value: [places, size]. sums: [groups, size]."""
    count = weights.shape[1]
    for group in range(groups):
        for index in range(size):
            sums[group, index] = 0
    for fold in range(0, count - FOLD + 1, FOLD):
        value0, value1, value2, value3 = value[fold], value[fold + 1], value[fold + 2], value[fold + 3]
        for group in range(groups):
            weight, out = weights[group, fold:], sums[group]
            for index in range(size):
                added = weight[0] * value0[index] + weight[1] * value1[index]
                out[index] += added + (weight[2] * value2[index] + weight[3] * value3[index])
    for place in range(count - count % FOLD, count):
        for group in range(groups):
            weight, one, out = weights[group, place], value[place], sums[group]
            for index in range(size):
                out[index] += weight * one[index]


@within
def _see(own, key, value, scale, found, groups, size):  # type: ignore[no-untyped-def]
    """own, found: [groups, size], heads that share a key. key, value: [places, size]."""
    weights, powers = np.empty((groups, len(key)), single), np.empty(len(key), whole)
    _score(own, key, scale, weights, groups, size)
    for group in range(groups):
        _normalise(weights[group], powers)
    _mix(weights, value, found, groups, size)


@cache
def attention(groups: int, size: int) -> Callable[..., None]:
    """What some tokens see, see `kernels.attend`; for so many heads that share a key, of this size.

    They are constants, so that loops are unrolled.
    """

    def one_token_each(query, keys, values, where, scale, found):  # type: ignore[no-untyped-def]
        sharing = keys.shape[1]
        for number in numba.prange(where.shape[1] * sharing):
            first, slot, begin, end = where[:, number // sharing]
            head = number % sharing
            heads = slice(head * groups, (head + 1) * groups)
            key, value = keys[slot, head, begin:end], values[slot, head, begin:end]
            _see(query[first, heads], key, value, scale, found[first, heads], groups, size)

    return parallel(one_token_each)


@within
def keep_row(keys, values, slot, place, kept_keys, kept_values):  # type: ignore[no-untyped-def]
    """Writes the heads of one token, flat, to its place: [slots, heads, places, size]."""
    heads, size, width = kept_keys.shape[1], kept_keys.shape[3], kept_values.shape[3]
    for head in range(heads):
        key_place, value_place = kept_keys[slot, head, place], kept_values[slot, head, place]
        for index in range(size):
            key_place[index] = keys[head * size + index]
        for index in range(width):
            value_place[index] = values[head * width + index]


@parallel
def keep(keys, key_stride, values, value_stride, slots, places, kept_keys, kept_values):  # type: ignore[no-untyped-def]
    """Writes rows of [heads, size] to [slots, heads, places, size]."""
    for number in numba.prange(len(slots)):
        key, value = keys[number * key_stride :], values[number * value_stride :]
        keep_row(key, value, slots[number], places[number], kept_keys, kept_values)


@numba.njit(boundscheck=False, error_model="numpy")
def rotate_row(read, cosine, sine, out):  # type: ignore[no-untyped-def]
    """The heads of one token. read: flat. out: [heads, size]"""
    heads, size = out.shape
    half = size // 2
    for head in range(heads):
        one, turned = read[head * size :], out[head]
        for index in range(half):
            first, second = one[index], one[half + index]
            turned[index] = first * cosine[index] - second * sine[index]
            turned[half + index] = second * cosine[half + index] + first * sine[half + index]


@parallel
def rotate(queries, query_stride, keys, key_stride, cosines, sines, found_queries, found_keys):  # type: ignore[no-untyped-def]
    """Rotary embedding (Su et al. 2021) of rows of [heads, size], whose halves are pairs.

    cosines, sines: [rows, size]. found: [rows, heads, size].
    """
    for number in numba.prange(len(cosines)):
        cosine, sine = cosines[number], sines[number]
        rotate_row(queries[number * query_stride :], cosine, sine, found_queries[number])
        rotate_row(keys[number * key_stride :], cosine, sine, found_keys[number])


@within
def norm_row(read, weight, epsilon, out):  # type: ignore[no-untyped-def]
    """All [width]."""
    width, total = len(read), single(0)
    for index in range(width):
        total += read[index] * read[index]
    factor = single(1) / np.sqrt(total / single(width) + epsilon)
    for index in range(width):
        out[index] = weight[index] * (read[index] * factor)


@parallel
def rms_norm(rows, weight, epsilon, found):  # type: ignore[no-untyped-def]
    """Zhang and Sennrich 2019. rows, found: [rows, width]."""
    for number in numba.prange(len(rows)):
        norm_row(rows[number], weight, epsilon, found[number])


@within
def gate_row(read, up, linear, cubic, out, powers):  # type: ignore[no-untyped-def]
    """read, up: from the first number on. out: [width]. powers: room for as many int32."""
    width = len(out)
    for index in range(width):
        one = read[index]
        out[index] = -linear * one * (single(1) + cubic * one * one)
    exponentials(out, powers)
    for index in range(width):
        out[index] = read[index] * up[index] / (single(1) + out[index])


@parallel
def gate(gates, gate_stride, ups, up_stride, linear, cubic, found):  # type: ignore[no-untyped-def]
    """x · sigmoid(linear · x · (1 + cubic · x²)) · up, x of gates (Shazeer 2020). found: [rows, width]."""
    for number in numba.prange(len(found)):
        read, up, powers = (
            gates[number * gate_stride :],
            ups[number * up_stride :],
            np.empty(found.shape[1], whole),
        )
        gate_row(read, up, linear, cubic, found[number], powers)


@parallel
def add_low_rank(rows, found, tokens, numbers, ranks, down, up, begins):  # type: ignore[no-untyped-def]
    """Adds to some rows of `found` what the adapter of each makes of the same rows of `rows`.

    ranks: [adapters, layers], whole folds. down: [adapters, layers, rank, in].
    up: [adapters, rank, out of all layers]. begins: of layers in `found`, and its width.
    """
    for index in numba.prange(len(tokens)):
        token, number = tokens[index], numbers[index]
        read = rows[token]
        for layer in range(down.shape[1]):
            begin, end = begins[layer], begins[layer + 1]
            out = found[token, begin:end]
            for fold in range(0, ranks[number, layer], FOLD):
                down0, down1 = down[number, layer, fold], down[number, layer, fold + 1]
                down2, down3 = down[number, layer, fold + 2], down[number, layer, fold + 3]
                sum0, sum1, sum2, sum3 = single(0), single(0), single(0), single(0)
                for place in range(len(read)):
                    sum0 += down0[place] * read[place]
                    sum1 += down1[place] * read[place]
                    sum2 += down2[place] * read[place]
                    sum3 += down3[place] * read[place]
                up0, up1 = up[number, fold, begin:end], up[number, fold + 1, begin:end]
                up2, up3 = up[number, fold + 2, begin:end], up[number, fold + 3, begin:end]
                for place in range(len(out)):
                    added = sum0 * up0[place] + sum1 * up1[place]
                    out[place] += added + (sum2 * up2[place] + sum3 * up3[place])
