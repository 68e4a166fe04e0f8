"""Weights of linear layers in the layout that oneDNN multiplies by fastest, made once for many steps.

A step multiplies a few rows by every weight of the model, and on a CPU most of its time goes into bringing
those weights along. Laid out beforehand they come two to three times as fast, and prompts are read in two
thirds of the time (measured on AMD EPYC, fp32; docs/log.md). It takes the memory of the weights once more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hanji.generation.slots import is_stepping

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Layer:
    """A linear layer and its weight, laid out; None before that."""

    module: Any
    packed: Tensor | None = None

    def pack(self) -> None:
        weight = self.module.weight.detach()
        dense = weight.t().contiguous() if isinstance(self.module, Conv1D) else weight
        self.packed = torch.ops.mkldnn._reorder_linear_weight(dense)

    def multiply(self, read: Tensor) -> Tensor:
        """[..., in] → [..., out]"""
        multiply = torch.ops.mkldnn._linear_pointwise.default  # looked up late: not every build has it
        return multiply(read, self.packed, self.module.bias, "none", [], "")  # type: ignore[no-any-return]


_numbers = count()
_layers: dict[int, _Layer] = {}
"""Layers that are lent now, by number: a compiled step cannot hold a packed weight, and asks for it here."""


_library = torch.library.Library("hanji", "DEF")  # type: ignore[no-untyped-call]
_library.define("multiply_packed(Tensor read, int number, int out) -> Tensor")  # type: ignore[no-untyped-call]


def _multiply_by_number(read: Tensor, number: int, _out: int) -> Tensor:
    return _layers[number].multiply(read)


def _shape_by_number(read: Tensor, _number: int, out: int) -> Tensor:
    return read.new_empty((*read.shape[:-1], out))


_library.impl("multiply_packed", _multiply_by_number, "CPU")  # type: ignore[no-untyped-call]
_library.impl("multiply_packed", _shape_by_number, "Meta")  # type: ignore[no-untyped-call]


class PackedLinears:
    """The linear layers of a model, multiplied by packed weights while slots take a step.

    Nothing is packed where the model is not in fp32 on a CPU, oneDNN is absent, or the memory does not do.

    Args:
        limit_bytes: memory for packed weights; 0 packs none.
    """

    def __init__(self, model: nn.Module, limit_bytes: int) -> None:
        found: list[Any] = [module for module in model.modules() if _can_be_packed(module)]
        size = sum(module.weight.nbytes for module in found)
        if size > limit_bytes > 0:
            log.info("weights stay unpacked: %s bytes are more than the %s allowed", size, limit_bytes)
        self._layers = [_Layer(module) for module in found] if size <= limit_bytes else []

    @property
    def modules(self) -> list[Any]:
        """The layers that are packed."""
        return [layer.module for layer in self._layers]

    @property
    def nbytes(self) -> int:
        """Bytes that are taken."""
        return sum(layer.module.weight.nbytes for layer in self._layers if layer.packed is not None)

    def pack(self) -> None:
        """Lays the weights out as they are now."""
        for layer in self._layers:
            layer.pack()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside, the model's own layers use them."""
        self.pack()
        lent = dict(zip(_numbers, self._layers, strict=False))
        _layers.update(lent)
        for number, layer in lent.items():
            layer.module.forward = _forward_of(layer, number)
        try:
            yield
        finally:
            for number, layer in lent.items():
                del layer.module.forward, _layers[number]
                layer.packed = None


def _forward_of(layer: _Layer, number: int) -> Callable[[Tensor], Tensor]:
    own, out = layer.module.forward, int(layer.module.weight.shape[isinstance(layer.module, Conv1D)])

    def forward(read: Tensor) -> Tensor:
        if not is_stepping():
            return own(read)  # type: ignore[no-any-return]
        if torch.compiler.is_compiling():
            return torch.ops.hanji.multiply_packed(read, number, out)  # type: ignore[no-any-return]
        return layer.multiply(read)

    return forward


def weights_mark(model: nn.Module) -> list[tuple[int, int]]:
    """What changes when a weight is written to or replaced; it is not asked what is in them."""
    return [(one.data_ptr(), 0 if one.is_inference() else one._version) for one in model.parameters()]


def _can_be_packed(module: nn.Module) -> bool:
    if type(module) not in (nn.Linear, Conv1D) or "forward" in vars(module):
        return False
    weight: Any = module.weight
    return bool(
        weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )
