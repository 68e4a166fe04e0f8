"""LoRAs in products: what reads the same tensor is multiplied as one, and so is what adapters add to it.

Modules that are asked one by one about their adapters take longer in Python than adapters take to compute.
Here a kernel adds to the product of a whole group of linear layers, to each token what the adapter of its
slot makes of it. Slots that have the same adapter share its matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from hanji.contracts.errors import ModelError
from hanji.generation import kernels
from hanji.generation.adapters.files import Adapter, Part
from hanji.generation.packed import Group, PackedLinears
from hanji.generation.slots import Step, current_step

Array = Any
_NONE = -1


class LowRank:
    """The adapters that slots have, as far as they are linear and at layers whose products kernels compute.

    As many adapters have a number as there are slots. One that no slot has any more keeps its number until
    another needs it.

    Args:
        model: the base. packed: its linear layers.
    """

    def __init__(self, model: nn.Module, packed: PackedLinears, slots: int) -> None:
        names = {module: name for name, module in model.named_modules()}
        self._groups = [
            (group, [names[module] for module in group.modules])
            for group in packed.groups
            if group.panels is not None
        ]
        self._modules = {name for _, modules in self._groups for name in modules}
        self._numbers = np.full(slots, _NONE)
        self._held: list[Adapter | None] = [None] * slots
        self._tokens: tuple[Step | None, tuple[Array, Array]] = (None, (self._numbers, self._numbers))

    def takes(self, module: str, part: Part) -> bool:
        """Whether it adds this part of an adapter to this module's product."""
        return part.is_low_rank and module in self._modules

    def assign(self, slot: int, adapter: Adapter | None) -> None:
        """The adapter of a slot from now on."""
        self._numbers[slot] = _NONE
        if adapter is None:
            return
        if adapter not in self._held:
            self._put(self._unused(), adapter)
        self._numbers[slot] = self._held.index(adapter)

    def close(self) -> None:
        """Products are as they were."""
        for group, _ in self._groups:
            group.added = None

    def _unused(self) -> int:
        """A number that no slot has; if there is one, that of no adapter."""
        free = [number for number in range(len(self._held)) if number not in self._numbers]
        return next((number for number in free if self._held[number] is None), free[0])

    def _put(self, number: int, adapter: Adapter) -> None:
        self._held[number] = None
        parts = {name: part for name, part in adapter.parts.items() if self.takes(name, part)}
        for group, modules in self._groups:
            own = [parts.get(name) for name in modules]
            if group.added is None and any(own):
                group.added = _Added(group, len(self._held), self._at_work)
            if isinstance(group.added, _Added):
                group.added.put(number, own)
        self._held[number] = adapter

    def _at_work(self) -> tuple[Array, Array]:
        """The tokens of the present pass whose slots have adapters, and the numbers of these: [n] int64 both.

        Tokens of one adapter stand side by side, so that it is read once.
        """
        step = current_step()
        if step is not self._tokens[0]:
            numbers = self._numbers[step.targets[0]]
            order = np.argsort(numbers, kind="stable")[np.count_nonzero(numbers == _NONE) :]
            self._tokens = (step, (order, numbers[order]))
        return self._tokens[1]


class _Added:
    """What adapters add to the product of a group.

    Args:
        numbers: how many adapters there may be. at_work: see `LowRank._at_work`.
    """

    def __init__(self, group: Group, numbers: int, at_work: Callable[[], tuple[Array, Array]]) -> None:
        self._at_work = at_work
        layers = len(group.spans)
        self._begins = np.array([*(begin for begin, _ in group.spans), group.width])
        self._ranks = np.zeros((numbers, layers), np.int64)
        self._down = np.empty((numbers, layers, 0, group.reads), np.float32)
        self._up = np.empty((numbers, 0, group.width), np.float32)

    def put(self, number: int, parts: list[Part | None]) -> None:
        """Gives a number to an adapter, by its parts at the layers of the group."""
        fold = kernels.compiled_kernels().FOLD
        ranks = [0 if part is None else -(-len(part.down) // fold) * fold for part in parts]
        if (more := max(ranks) - self._up.shape[1]) > 0:
            self._down = np.pad(self._down, ((0, 0), (0, 0), (0, more), (0, 0)))
            self._up = np.pad(self._up, ((0, 0), (0, more), (0, 0)))
        self._ranks[number] = ranks
        self._down[number], self._up[number] = 0, 0
        for layer, part in enumerate(parts):
            if part is not None:
                begin, end = self._begins[layer : layer + 2]
                self._down[number, layer, : len(part.down)] = part.down.numpy()
                self._up[number, : len(part.down), begin:end] = part.up.t().numpy()

    def __call__(self, rows: int) -> tuple[Array, ...]:
        """See `Group.added`.

        Raises:
            ModelError: the layers were given some of the pass's tokens only.
        """
        tokens, numbers = self._at_work()
        if len(tokens) and rows != current_step().positions.shape[1]:
            raise ModelError(
                "adapters cannot share a base at layers that read some of the tokens only",
                hint="serve the adapter merged, as a model of its own",
            )
        return tokens, numbers, self._ranks, self._down, self._up, self._begins
