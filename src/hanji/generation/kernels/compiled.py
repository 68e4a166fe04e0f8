"""The kernels themselves, compiled by Numba: arrays in, arrays out. Imported only where Numba is installed.

Each row is computed by one thread, in an order that depends on nothing else, so all are batch-invariant.
Rows of an array that is a part of another (queries in the product of queries, keys and values) are given as
`flat`, all numbers from the first to the last, and `stride`, how many lie between two rows: vectors of the
processor want numbers side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numba
import numpy as np

single, whole = np.float32, np.int32

FOLD = 4
"""Rows of an adapter that are read together."""
_FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}
"""Liberties of the compiler; values that are not finite stay so."""


def parallel(function: Callable[..., None]) -> Callable[..., None]:
    """Compiles a kernel whose `prange` is shared among threads, for the arrays that it is called with."""
    compiler = partial(numba.njit, parallel=True, fastmath=_FAST, boundscheck=False, error_model="numpy")
    try:
        return compiler(cache=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # there is nowhere to keep it
        return compiler()(function)  # type: ignore[no-any-return]


@numba.njit(fastmath=_FAST, boundscheck=False, error_model="numpy")
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


@cache
def attention(groups: int, size: int) -> Callable[..., None]:
    """For so many heads that share a key, of this size: constants, so that loops are unrolled."""

    def one_token_each(query, keys, values, where, scale, found):  # type: ignore[no-untyped-def]
        sharing = keys.shape[1]
        firsts, slots, begins, ends = where[0], where[1], where[2], where[3]
        for number in numba.prange(len(firsts) * sharing):
            one, head = number // sharing, number % sharing
            begin, count = begins[one], ends[one] - begins[one]
            own = query[firsts[one], head * groups : (head + 1) * groups]
            key, value = keys[slots[one], head, begin:], values[slots[one], head, begin:]
            weights = np.empty((groups, count), single)
            powers = np.empty(count, whole)
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
                for place in range(count):
                    weights[group, place] -= largest
                exponentials(weights[group], powers)
                for place in range(count):
                    total += weights[group, place]
                for place in range(count):
                    weights[group, place] /= total
            for place in range(count):
                for group in range(groups):
                    for index in range(size):
                        sums[group, index] += weights[group, place] * value[place, index]
            found[firsts[one], head * groups : (head + 1) * groups] = sums

    return parallel(one_token_each)


@parallel
def keep(keys, key_stride, values, value_stride, slots, places, kept_keys, kept_values):  # type: ignore[no-untyped-def]
    """Writes rows of [heads, size] to [slots, heads, places, size]."""
    heads, size, width = kept_keys.shape[1], kept_keys.shape[3], kept_values.shape[3]
    for number in numba.prange(len(slots)):
        for head in range(heads):
            key = keys[number * key_stride + head * size :]
            value = values[number * value_stride + head * width :]
            key_place = kept_keys[slots[number], head, places[number]]
            value_place = kept_values[slots[number], head, places[number]]
            for index in range(size):
                key_place[index] = key[index]
            for index in range(width):
                value_place[index] = value[index]


@numba.njit(boundscheck=False, error_model="numpy")
def _rotate_heads(read, cosine, sine, out):  # type: ignore[no-untyped-def]
    """read: flat. out: [heads, size]"""
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
        _rotate_heads(queries[number * query_stride :], cosine, sine, found_queries[number])
        _rotate_heads(keys[number * key_stride :], cosine, sine, found_keys[number])


@parallel
def rms_norm(rows, weight, epsilon, found):  # type: ignore[no-untyped-def]
    """Zhang and Sennrich 2019. rows, found: [rows, width]."""
    width = rows.shape[1]
    for number in numba.prange(len(rows)):
        read, out = rows[number], found[number]
        total = single(0)
        for index in range(width):
            total += read[index] * read[index]
        factor = single(1) / np.sqrt(total / single(width) + epsilon)
        for index in range(width):
            out[index] = weight[index] * (read[index] * factor)


@parallel
def gate(gates, gate_stride, ups, up_stride, linear, cubic, found):  # type: ignore[no-untyped-def]
    """x · sigmoid(linear · x · (1 + cubic · x²)) · up, x of gates (Shazeer 2020). found: [rows, width]."""
    width = found.shape[1]
    for number in numba.prange(len(found)):
        read, up = gates[number * gate_stride :], ups[number * up_stride :]
        out, powers = found[number], np.empty(width, whole)
        for index in range(width):
            one = read[index]
            out[index] = -linear * one * (single(1) + cubic * one * one)
        exponentials(out, powers)
        for index in range(width):
            out[index] = read[index] * up[index] / (single(1) + out[index])


@parallel
def add_low_rank(rows, tokens, numbers, ranks, down, up, begins, found):  # type: ignore[no-untyped-def]
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
