"""Weights of linear layers in the layout that oneDNN multiplies by fastest, made once for many steps.

A step multiplies a few rows by every weight of the model, and on a CPU most of its time goes into bringing
those weights along. Laid out beforehand they come two to three times as fast, and prompts are read in two
thirds of the time (measured on AMD EPYC, fp32; docs/log.md). It takes the memory of the weights once more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hanji.generation.slots import is_stepping

log = logging.getLogger(__name__)


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
        self.modules = found if size <= limit_bytes else []
        self._packed: dict[Any, Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Bytes that are taken."""
        return sum(module.weight.nbytes for module in self._packed)

    def pack(self) -> None:
        """Lays the weights out as they are now."""
        for module in self.modules:
            weight = module.weight.detach()
            dense = weight.t().contiguous() if isinstance(module, Conv1D) else weight
            self._packed[module] = torch.ops.mkldnn._reorder_linear_weight(dense)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside, the model's own layers use them."""
        self.pack()
        for module in self.modules:
            module.forward = self._forward_of(module)
        try:
            yield
        finally:
            for module in self.modules:
                del module.forward
            self._packed.clear()

    def _forward_of(self, module: Any) -> Callable[[Tensor], Tensor]:
        own, packed, multiply = module.forward, self._packed, torch.ops.mkldnn._linear_pointwise.default

        def forward(read: Tensor) -> Tensor:
            if not is_stepping():
                return own(read)  # type: ignore[no-any-return]
            return multiply(read, packed[module], module.bias, "none", [], "")  # type: ignore[no-any-return]

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
