"""Watches every operation on tensors: what it computes, and how long its results live."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Phase = Literal["weights", "optimizer", "forward", "head", "backward"]
Kind = Literal["matmul", "attention", "arithmetic", "optimizer", "view"]

PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "small")
"""What memory is told by; `small` is no further part, but what all but weights have in small blocks."""
SMALL_BYTES = 32 * 1024 * 1024
"""glibc takes larger blocks from the system each time, and gives them back: no gaps, but fresh pages."""
_ATTENTION_BACKWARD = 2.5
"""Attention's backward pass against its forward pass: five matrix products for two."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One kernel.

    Attributes:
        flops: floating-point operations of products and attention.
        bytes: read and written.
        written: bytes of its results.
        half: whether a product is of 16-bit numbers.
        dims: of a product (m, k, n); of attention (heads, longest document, head size).
        count: how many of them; any number where a depth was extrapolated.
    """

    phase: Phase
    kind: Kind
    flops: float
    bytes: float
    written: float
    dims: tuple[int, int, int] = (0, 0, 0)
    half: bool = False
    count: float = 1.0


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations and the lives of storages while it is entered.

    Args:
        longest: tokens of a document, for kernels that take all documents at once.
    """

    def __init__(self, longest: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self._longest = longest
        self._phase: Phase = "forward"
        self._numbers: dict[int, int] = {}
        self._sizes: list[int] = []
        self._phases: list[Phase] = []
        self._births: list[int] = []
        self._deaths: dict[int, int] = {}
        self._clock = 0
        self._kept: list[object] = []

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """What happens within belongs to `name`."""
        before, self._phase = self._phase, name
        try:
            yield
        finally:
            self._phase = before

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Tensors that were there before."""
        for tensor in tensors:
            self._follow(tensor, "weights")

    def keep(self, thing: object) -> None:
        """Keeps `thing`, and the tensors in it, alive as long as the recorder."""
        self._kept.append(thing)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the operation and writes it down."""
        result = func(*args, **(kwargs or {}))
        if func.namespace == "prim":
            return result
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self._clock += 1
        for tensor in made:
            self._follow(tensor, self._phase)
        operands = [argument for argument in args if isinstance(argument, Tensor)]  # not `out=`
        self.operations.append(self._describe(func, given, made, operands))
        return result

    def peak_by_part(self, gradients: Sequence[Tensor]) -> dict[str, float]:
        """Bytes by part at the moment when most were alive.

        Args:
            gradients: tensors that are gradients now; their memory counts as such from their birth.
        """
        changes = [0] * (self._clock + 2)
        for number, size in enumerate(self._sizes):
            changes[self._births[number]] += size
            changes[self._deaths.get(number, self._clock + 1)] -= size
        alive, highest, peak = 0, -1, 0
        for moment, change in enumerate(changes):
            alive += change
            if alive > highest:
                highest, peak = alive, moment
        are_gradients = {self._numbers.get(tensor.untyped_storage()._cdata) for tensor in gradients}
        parts = dict.fromkeys(PARTS, 0.0)
        for number, size in enumerate(self._sizes):
            if self._births[number] <= peak < self._deaths.get(number, self._clock + 1):
                part = self._part(number, number in are_gradients)
                parts[part] += size
                parts["small"] += size if size < SMALL_BYTES and part != "weights" else 0
        return parts

    def _part(self, number: int, is_gradient: bool) -> str:
        if is_gradient:
            return "gradients"
        phase = self._phases[number]
        return {"weights": "weights", "optimizer": "optimizer", "head": "logits"}.get(phase, "activations")

    def _follow(self, tensor: Tensor, phase: Phase) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._numbers:
            return
        number = self._numbers[key] = len(self._sizes)
        self._sizes.append(storage.nbytes())
        self._phases.append(phase)
        self._births.append(self._clock)

        def ended() -> None:
            self._deaths[number] = self._clock + 1
            self._numbers.pop(key, None)

        weakref.finalize(storage, ended)

    def _describe(
        self, func: Any, given: list[Tensor], made: list[Tensor], operands: list[Tensor]
    ) -> Operation:
        name = func.overloadpacket.__name__
        read, written = _bytes(given), _bytes(made)
        if name in ("mm", "addmm", "addmm_", "bmm", "baddbmm", "_grouped_mm"):
            left, right = operands[-2:]
            m, k, n = left.shape[-2], left.shape[-1], right.shape[-1]
            groups = prod(left.shape[:-2])
            flops = 2.0 * groups * m * k * n
            return Operation(
                self._phase, "matmul", flops, read + written, written, (groups * m, k, n), left.itemsize < 4
            )
        if "attention" in name or "attn" in name:
            backward = "backward" in name
            flops, dims = self._attention(operands[1] if backward else operands[0], backward)
            return Operation(self._phase, "attention", flops, read + written, written, dims)
        if "_fused_adam" in name:
            return Operation(self._phase, "optimizer", 0.0, 2.0 * read, 0.0)
        inputs = {tensor.untyped_storage()._cdata for tensor in given}
        if made and not name.endswith("_") and all(t.untyped_storage()._cdata in inputs for t in made):
            return Operation(self._phase, "view", 0.0, 0.0, 0.0)
        return Operation(self._phase, "arithmetic", 0.0, read + written, written)

    def _attention(self, query: Tensor, backward: bool) -> tuple[float, tuple[int, int, int]]:
        """Causal, so that half of the scores count.

        Args:
            query: [batch, heads, tokens, size], or [tokens, heads, size] with documents end to end.
        """
        if query.ndim == 4:
            batch, heads, tokens, size = query.shape
            longest = tokens
        else:
            tokens, heads, size = query.shape
            batch, longest = 1, min(tokens, self._longest)
        flops = 2.0 * batch * heads * tokens * longest * size * (_ATTENTION_BACKWARD if backward else 1.0)
        return flops, (batch * heads, longest, size)


def _bytes(tensors: Sequence[Tensor]) -> float:
    return float(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
