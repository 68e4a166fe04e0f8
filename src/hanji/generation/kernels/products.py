"""Products of a few rows with weights that are read from memory once, in fp32; for Numba.

A step multiplies some rows by all weights of a model, so it takes as long as memory takes to bring them.
Weights lie in panels of as many columns as two vectors of the processor hold, a panel's rows side by side. A
tile of rows is multiplied by a panel while its sums stay in registers (Goto and van de Geijn 2008, "Anatomy
of High-Performance Matrix Multiplication"). Each sum is one chain of fused multiply-adds in the order of its
terms, whatever tile its row is in: products are batch-invariant on every processor.

LLVM makes good code of such a tile only if told which vectors there are, so it is written in its own terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from hanji.generation.kernels.compiled import parallel


def _vectors() -> tuple[int, int]:
    """Numbers in a vector, and rows of a tile: its sums, two vectors of weights and one of a row are kept."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 14  # 32 registers
    if features.get("avx2") and features.get("fma"):
        return 8, 6  # 16
    return 4, 12  # Arm's 32


LANES, ROWS = _vectors()
PANEL = 2 * LANES
_AHEAD = 32
"""Rows of a panel that are asked for before they are needed."""


@intrinsic
def _tile(  # type: ignore[no-untyped-def]
    _context, read, weights, bias, found, rows, depth, read_stride, found_stride
):
    """Rows of `found` become those of `read` times a panel, plus its bias; pairs say where each begins."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointers = []
        for kind, value in zip(signature.args[:4], values[:4], strict=True):
            array, offset = (builder.extract_value(value, part) for part in (0, 1))
            data = context.make_array(kind[0])(context, builder, array).data
            pointers.append(builder.gep(data, [offset]))
        rows, depth, *strides = values[4:]
        code = _TileCode(builder, *pointers, *strides)
        after = builder.append_basic_block("after")
        switch = builder.switch(rows, after)
        for count in range(1, ROWS + 1):
            block = builder.append_basic_block(f"rows{count}")
            switch.add_case(ir.Constant(rows.type, count), block)
            builder.position_at_end(block)
            code.multiply(count, depth)
            builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(read, weights, bias, found, rows, depth, read_stride, found_stride), generate


@dataclass(frozen=True)
class _TileCode:
    """Writes the code of a tile: its arrays from where it begins, and how far rows are apart."""

    builder: Any
    read: Any
    weights: Any
    bias: Any
    found: Any
    read_stride: Any
    found_stride: Any
    number = ir.FloatType()
    vector = ir.VectorType(number, LANES)

    def at(self, start: Any, offset: Any) -> Any:
        return self.builder.gep(start, [offset], source_etype=self.number)

    def whole(self, value: int) -> Any:
        return ir.Constant(self.read_stride.type, value)

    def load(self, start: Any, offset: Any) -> Any:
        place = self.builder.bitcast(self.at(start, offset), self.vector.as_pointer())
        return self.builder.load(place, align=4, typ=self.vector)

    def spread(self, start: Any, offset: Any) -> Any:
        """A vector of one number."""
        undefined, index = ir.Constant(self.vector, ir.Undefined), ir.IntType(32)
        number = self.builder.load(self.at(start, offset), typ=self.number)
        one = self.builder.insert_element(undefined, number, index(0))
        mask = ir.Constant(ir.VectorType(index, LANES), [0] * LANES)
        return self.builder.shuffle_vector(one, undefined, mask)

    def ask_for(self, start: Any, offset: Any) -> None:
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        place = self.builder.bitcast(self.at(start, offset), pointer)
        self.builder.call(function, [place, flag(0), flag(3), flag(1)])

    def multiply(self, count: int, depth: Any) -> None:
        """For so many rows, from this place on."""
        builder = self.builder
        starts = [self.at(self.read, builder.mul(self.read_stride, self.whole(row))) for row in range(count)]
        begun = [self.load(self.bias, self.whole(LANES * half)) for half in (0, 1)]
        before = builder.block
        loop, done = (builder.append_basic_block(name) for name in ("loop", "done"))
        builder.branch(loop)
        builder.position_at_end(loop)
        place = builder.phi(depth.type)
        place.add_incoming(self.whole(0), before)
        sums = [[builder.phi(self.vector) for _ in begun] for _ in range(count)]
        fused = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.vector, [self.vector] * 3), f"llvm.fma.v{LANES}f32"
        )
        column = builder.mul(place, self.whole(PANEL))
        halves = [self.load(self.weights, builder.add(column, self.whole(LANES * half))) for half in (0, 1)]
        for half in (0, 1):
            self.ask_for(self.weights, builder.add(column, self.whole(_AHEAD * PANEL + LANES * half)))
        for row in range(count):
            factor = self.spread(starts[row], place)
            for half in (0, 1):
                total = sums[row][half]
                total.add_incoming(begun[half], before)
                total.add_incoming(builder.call(fused, [factor, halves[half], total]), loop)
        following = builder.add(place, self.whole(1))
        place.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
        builder.position_at_end(done)
        for row in range(count):
            start = builder.mul(self.found_stride, self.whole(row))
            for half in (0, 1):
                target = self.at(self.found, builder.add(start, self.whole(LANES * half)))
                total = sums[row][half].incomings[1][0]
                builder.store(total, builder.bitcast(target, self.vector.as_pointer()), align=4)


@numba.njit(boundscheck=False)
def _multiply_tile(read, weights, bias, found, rows, depth, read_stride, found_stride):  # type: ignore[no-untyped-def]
    _tile(read, weights, bias, found, rows, depth, read_stride, found_stride)


@parallel
def multiply(read, stride, packed, bias, found):  # type: ignore[no-untyped-def]
    """Rows of `read`, flat, times weights, plus a bias. found: [rows, out].

    packed: [panels, in, PANEL], of the weights [out, in]; the last may be filled up. bias: [panels * PANEL].
    """
    panels, depth, panel = packed.shape
    weights, numbers = packed.reshape(panels * depth * panel), found.reshape(found.size)
    rows, out = found.shape
    tiles = (rows + ROWS - 1) // ROWS
    for number in numba.prange(panels):
        column = number * PANEL
        is_whole = column + PANEL <= out
        room = np.empty(ROWS * PANEL, np.float32)
        for tile in range(tiles):
            first, end = rows * tile // tiles, rows * (tile + 1) // tiles
            into, found_stride = ((numbers, first * out + column), out) if is_whole else ((room, 0), PANEL)
            _multiply_tile(
                (read, first * stride), (weights, number * depth * PANEL), (bias, column), into,
                end - first, depth, stride, found_stride,
            )  # fmt: skip
            if not is_whole:
                for row in range(end - first):
                    for index in range(out - column):
                        found[first + row, column + index] = room[row * PANEL + index]
