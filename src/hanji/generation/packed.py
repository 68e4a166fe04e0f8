"""Weights of linear layers in the layout that is multiplied by fastest, made once for many steps.

A step multiplies a few rows by every weight of the model, and on a CPU most of its time goes into bringing
those weights along. oneDNN brings those that it has laid out two to three times as fast as others, and where
Numba is installed a kernel of ours takes a fifth less again (`kernels.products`; docs/log.md). It takes the
memory of the weights once more.

Narrow layers that read the same tensor (queries, keys and values) are multiplied as one, in two thirds of the
time. Wide ones (gate and up) are only where kernels follow that read parts of rows; to PyTorch's functions
such parts cost more than is won.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hanji.generation import kernels
from hanji.generation.slots import is_stepping

log = logging.getLogger(__name__)

_NARROW = 3
"""A group's product is at most so many times as wide as what it reads."""


@dataclass(eq=False, slots=True)
class Group:
    """Linear layers that read the same tensor, and their weights, laid out as one.

    Attributes:
        panels: weights and biases for the kernel. packed, bias: for oneDNN, where there is none.
        spans: where each has its part of the product, and how wide it is.
        added: of adapters, where there are any: gives for so many rows what `kernels.add_low_rank` is told.
        read, product: of layers that were asked for their part, while others are still to be.
    """

    modules: list[Any]
    spans: list[tuple[int, int]]
    panels: tuple[Any, Any] | None = None
    packed: Tensor | None = None
    bias: Tensor | None = None
    added: Callable[[int], tuple[Any, ...]] | None = None
    read: Tensor | None = None
    product: Tensor | None = None

    @property
    def width(self) -> int:
        """Of the product."""
        return sum(self.spans[-1])

    @property
    def reads(self) -> int:
        """How wide what they read is."""
        module = self.modules[0]
        return int(module.weight.shape[not isinstance(module, Conv1D)])

    @property
    def size(self) -> int:
        """How many weights there are."""
        return sum(int(module.weight.numel()) for module in self.modules)

    def pack(self) -> None:
        weights = [_dense(module) for module in self.modules]
        whole = torch.cat(weights) if weights[1:] else weights[0]
        biases = [module.bias for module in self.modules]
        if any(bias is not None for bias in biases):
            pairs = zip(weights, biases, strict=True)
            self.bias = torch.cat([w.new_zeros(len(w)) if b is None else b.detach() for w, b in pairs])
        if kernels.usable(whole):
            self.panels = kernels.pack(whole, self.bias)
        else:
            self.packed = torch.ops.mkldnn._reorder_linear_weight(whole)

    def multiply(self, read: Tensor) -> Tensor:
        """[..., in] → [..., out of all]"""
        if self.panels is not None:
            rows = read.reshape(-1, read.shape[-1]).contiguous()
            found = kernels.multiply(rows.numpy(), *self.panels, self.width)
            if self.added is not None:
                kernels.add_low_rank(rows.numpy(), found, *self.added(len(rows)))
            return torch.from_numpy(found).view(*read.shape[:-1], self.width)
        multiply = torch.ops.mkldnn._linear_pointwise.default  # looked up late: not every build has it
        return multiply(read, self.packed, self.bias, "none", [], "")  # type: ignore[no-any-return]

    def for_kernel(self, rows: int) -> tuple[Any, ...]:
        """What a kernel is told to do so itself: weights, bias and width, and what adapters add."""
        assert self.panels is not None
        added = kernels.NOTHING_ADDED if self.added is None else self.added(rows)
        return (*self.panels, self.width), added

    def part(self, number: int, read: Tensor) -> Tensor:
        """[..., in] → [..., out] of the layer of this number."""
        if len(self.modules) == 1:
            return self.multiply(read)
        if read is not self.read:
            self.read, self.product = read, self.multiply(read)
        assert self.product is not None
        part = self.product.narrow(-1, *self.spans[number])
        if number == len(self.modules) - 1:
            self.read = self.product = None
        return part


_numbers = count()
_groups: dict[int, Group] = {}
"""What is lent now, by number: a compiled step cannot hold a packed weight, and asks for it here."""


_library = torch.library.Library("hanji", "DEF")  # type: ignore[no-untyped-call]
_library.define("multiply_packed(Tensor read, int number, int out) -> Tensor")  # type: ignore[no-untyped-call]


def _multiply_by_number(read: Tensor, number: int, _out: int) -> Tensor:
    return _groups[number].multiply(read)


def _shape_by_number(read: Tensor, _number: int, out: int) -> Tensor:
    return read.new_empty((*read.shape[:-1], out))


_library.impl("multiply_packed", _multiply_by_number, "CPU")  # type: ignore[no-untyped-call]
_library.impl("multiply_packed", _shape_by_number, "Meta")  # type: ignore[no-untyped-call]


class PackedLinears:
    """The linear layers of a model, multiplied by packed weights while slots take a step.

    Nothing is packed where the model is not in fp32 on a CPU, oneDNN is absent, or the memory does not do.

    Args:
        model: in evaluation mode. It is run with two tokens, to see which layers read the same.
        limit_bytes: memory for packed weights; 0 packs none.
        grouped: whether such layers are multiplied as one; not where a step is compiled.
        wide: pairs of layers that may be, however wide they are.

    Attributes:
        groups: the layers that are packed, each with those that are multiplied with it.
    """

    def __init__(
        self,
        model: nn.Module,
        limit_bytes: int,
        *,
        grouped: bool = True,
        wide: Sequence[tuple[nn.Module, nn.Module]] = (),
    ) -> None:
        found: list[Any] = [module for module in model.modules() if _can_be_packed(module)]
        size = sum(module.weight.nbytes for module in found)
        if size > limit_bytes > 0:
            log.info("weights stay unpacked: %s bytes are more than the %s allowed", size, limit_bytes)
        if size > limit_bytes:
            found = []
        together = _reading_the_same(model, found, wide) if grouped else [[module] for module in found]
        self.groups = [Group(modules, _spans(modules)) for modules in together]

    @property
    def modules(self) -> list[Any]:
        """The layers that are packed."""
        return [module for group in self.groups for module in group.modules]

    def group(self, *modules: nn.Module) -> Group | None:
        """The one of exactly these layers."""
        return next((group for group in self.groups if group.modules == list(modules)), None)

    @property
    def nbytes(self) -> int:
        """Bytes that are taken."""
        packed = [group for group in self.groups if group.panels or group.packed is not None]
        return sum(module.weight.nbytes for group in packed for module in group.modules)

    def pack(self) -> None:
        """Lays the weights out as they are now."""
        for group in self.groups:
            group.pack()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside, the model's own layers use them."""
        self.pack()
        lent = dict(zip(_numbers, self.groups, strict=False))
        _groups.update(lent)
        for name, group in lent.items():
            for number, module in enumerate(group.modules):
                module.forward = _forward_of(module, number, group, name)
        try:
            yield
        finally:
            for name, group in lent.items():
                for module in group.modules:
                    del module.forward
                del _groups[name]
                group.panels = group.packed = group.bias = group.read = group.product = None


def _forward_of(module: Any, number: int, group: Group, name: int) -> Callable[[Tensor], Tensor]:
    own, out = module.forward, group.spans[number][1]

    def forward(read: Tensor) -> Tensor:
        if not is_stepping():
            return own(read)  # type: ignore[no-any-return]
        if torch.compiler.is_compiling():
            return torch.ops.hanji.multiply_packed(read, name, out)  # type: ignore[no-any-return]
        return group.part(number, read)

    return forward


@torch.no_grad()
def _reading_the_same(
    model: nn.Module, found: list[Any], wide: Sequence[tuple[nn.Module, nn.Module]]
) -> list[list[Any]]:
    """The layers in groups that read the same tensor, one after the other, when the model runs."""
    seen: list[tuple[Any, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs: seen.append((module, inputs[0])))
        for module in found
    ]
    try:
        if found:
            model(input_ids=torch.zeros((1, 2), dtype=torch.int64))
    except Exception as error:  # whatever a model of its own kind asks for besides
        log.debug("linear layers are multiplied one by one: %s", error)
        seen.clear()
    finally:
        for hook in hooks:
            hook.remove()
    groups: list[list[Any]] = []
    partners = dict(wide)
    for (module, read), (_, before) in zip(seen, [(None, None), *seen], strict=False):
        if any(module in group for group in groups):
            continue
        if read is before and (
            _width([*groups[-1], module]) <= _NARROW * read.shape[-1]
            or partners.get(groups[-1][-1]) is module
        ):
            groups[-1].append(module)
        else:
            groups.append([module])
    return [*groups, *([module] for module in found if not any(module in group for group in groups))]


def _spans(modules: list[Any]) -> list[tuple[int, int]]:
    return [(_width(modules[:number]), _width([module])) for number, module in enumerate(modules)]


def _width(modules: list[Any]) -> int:
    """Of what they give together."""
    return sum(int(module.weight.shape[isinstance(module, Conv1D)]) for module in modules)


def _dense(module: Any) -> Tensor:
    """[out, in]"""
    weight: Tensor = module.weight.detach()
    return weight.t().contiguous() if isinstance(module, Conv1D) else weight


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
