"""Norms, gates and rotary embeddings of a model, found by trying them, and computed by kernels in passes."""

from __future__ import annotations

import inspect
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from hanji.generation import kernels
from hanji.generation.slots import is_in_segments

log = logging.getLogger(__name__)

_GATES = {"silu": (1.0, 0.0), "gelu, by tanh": (1.5957691216057308, 0.044715), "quick gelu": (1.702, 0.0)}
"""x · sigmoid(linear · x · (1 + cubic · x²)): sigmoid(2 z) is (1 + tanh(z)) / 2."""
_ROTARY = "apply_rotary_pos_emb"


class FusedLayers:
    """Layers of a model that kernels compute; none where they cannot.

    A layer is taken by what it gives, not by its name: it must agree with the kernel on numbers drawn.

    Args:
        model: a causal model, in evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self._norms: list[tuple[Any, float]] = []
        self._gated: list[tuple[Any, tuple[float, float]]] = []
        self._homes: list[ModuleType] = []
        self._turning: list[Any] = []
        if not kernels.usable(*model.parameters()):
            return
        modules = [module for module in model.modules() if "forward" not in vars(module)]
        for module in modules:
            if (epsilon := _epsilon(module)) is not None:
                self._norms.append((module, epsilon))
            elif (gate := _gate(module)) is not None:
                self._gated.append((module, gate))
        homes = {sys.modules.get(type(module).__module__) for module in modules}
        self._homes = [home for home in homes if home is not None and _rotates(home)]
        self._turning = [
            module
            for module in modules
            if sys.modules.get(type(module).__module__) in self._homes
            and {"q_proj", "k_proj", "v_proj"} <= dict(module.named_children()).keys()
        ]

    @property
    def pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Projections, gate and up, queries and keys, keys and values, whose products may be parts of one."""
        found = [(module.gate_proj, module.up_proj) for module, _ in self._gated]
        for module in self._turning:
            found += [(module.q_proj, module.k_proj), (module.k_proj, module.v_proj)]
        return found

    def epsilon(self, module: nn.Module) -> float | None:
        """Of a norm that a kernel computes."""
        return next((epsilon for norm, epsilon in self._norms if norm is module), None)

    def gate(self, module: nn.Module) -> tuple[float, float] | None:
        """Of a network whose gate a kernel computes; see `kernels.gate`."""
        return next((gate for network, gate in self._gated if network is module), None)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside, passes over slots compute them so."""
        with ExitStack() as lent:
            for norm, epsilon in self._norms:
                _lend(lent, norm, _normalised(norm, epsilon))
            for module, gate in self._gated:
                _lend(lent, module, _gated(module, *gate))
            for home in self._homes:
                lent.enter_context(_rotary_replaced(home))
            yield


def _lend(lent: ExitStack, module: Any, other: Callable[[Tensor], Tensor]) -> None:
    own = module.forward

    def forward(*inputs: Any, **named: Any) -> Any:
        if len(inputs) == 1 and not named:
            (read,) = inputs
            if read.dim() > 2 and len(read) == 1 and is_on(read):
                return other(read)
        return own(*inputs, **named)

    module.forward = forward
    lent.callback(vars(module).pop, "forward")


def is_on(read: Tensor) -> bool:
    """Whether kernels compute now: in a pass over slots that looks at each by itself, in fp32."""
    return is_in_segments() and not torch.compiler.is_compiling() and read.dtype == torch.float32


def _normalised(module: Any, epsilon: float) -> Callable[[Tensor], Tensor]:
    return lambda read: kernels.rms_norm(read, module.weight, epsilon)


def _gated(module: Any, linear: float, cubic: float) -> Callable[[Tensor], Tensor]:
    def forward(read: Tensor) -> Tensor:
        return module.down_proj(kernels.gate(module.gate_proj(read), module.up_proj(read), linear, cubic))  # type: ignore[no-any-return]

    return forward


@torch.inference_mode()
def _epsilon(module: Any) -> float | None:
    """Of a norm by the root of the mean square; None of whatever else."""
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if "RMSNorm" not in type(module).__name__ or not isinstance(epsilon, float):
        return None
    weights = dict(module.named_parameters())
    if list(weights) != ["weight"] or weights["weight"].dim() != 1:
        return None
    read = drawn(2, len(weights["weight"]))
    found = kernels.rms_norm(read, weights["weight"], epsilon)
    return epsilon if _agree(tried(module, read), found) else None


def _gate(module: nn.Module) -> tuple[float, float] | None:
    """Of a feed-forward network with a gate that kernels know; None of whatever else."""
    children = dict(module.named_children())
    if set(children) != {"gate_proj", "up_proj", "down_proj", "act_fn"}:
        return None
    ups = drawn(1, 2, 64)
    gates = 3 * ups.flip(1)
    kind: Any = type(module)
    with torch.inference_mode():
        activated = tried(children["act_fn"], gates)
        for gate in _GATES.values() if activated is not None and _is_gated(kind) else ():
            if _agree(activated * ups, kernels.gate(gates, ups, *gate)):
                return gate
    return None


@cache
def _is_gated(kind: Any) -> bool:
    """Whether such a network is down(act(gate) · up), tried with functions in place of its layers."""
    network: Any = kind.__new__(kind)
    nn.Module.__init__(network)
    network.gate_proj, network.up_proj, network.down_proj, network.act_fn = (
        _Function(function) for function in (torch.sin, torch.cos, torch.tanh, torch.sigmoid)
    )
    read = drawn(1, 2, 8)
    return _agree(tried(network, read), torch.tanh(torch.sigmoid(torch.sin(read)) * torch.cos(read)))


class _Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.forward = function


@cache
def _rotates(module: ModuleType) -> bool:
    """Whether a modelling module's function is the rotary embedding that kernels know, tried with numbers."""
    function = vars(module).get(_ROTARY)
    if function is None or list(inspect.signature(function).parameters)[:4] != ["q", "k", "cos", "sin"]:
        return False
    query, key, angles = drawn(1, 2, 3, 8), drawn(1, 1, 3, 8), drawn(1, 3, 4).repeat(1, 1, 2)
    given = (query, key, angles.cos(), angles.sin())
    expected = tried(function, *given)
    return expected is not None and all(map(_agree, expected, kernels.rotate(*given)))


def _fits(query: Tensor, key: Tensor, cosines: Tensor, sines: Tensor) -> bool:
    _, _, tokens, size = query.shape
    angles = all(each.shape == (1, tokens, size) and each.is_contiguous() for each in (cosines, sines))
    return angles and len(query) == 1 and key.shape[3] == size


def _with_kernel(own: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    def apply_rotary_pos_emb(
        q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, **named: Any
    ) -> tuple[Tensor, Tensor]:
        if is_on(q) and not rest and not named and _fits(q, k, cos, sin):
            return kernels.rotate(q, k, cos, sin)
        return own(q, k, cos, sin, *rest, **named)

    return apply_rotary_pos_emb


_lock = threading.Lock()
_users = Counter[ModuleType]()
"""How many engines have a modelling module's function replaced."""
_own: dict[ModuleType, Callable[..., tuple[Tensor, Tensor]]] = {}
"""What it was."""


@contextmanager
def _rotary_replaced(module: ModuleType) -> Iterator[None]:
    """Inside, its function uses the kernel in passes over slots. It belongs to all models of the kind."""
    with _lock:
        _users[module] += 1
        if _users[module] == 1:
            _own[module] = vars(module)[_ROTARY]
            vars(module)[_ROTARY] = _with_kernel(_own[module])
    try:
        yield
    finally:
        with _lock:
            _users[module] -= 1
            if not _users[module]:
                vars(module)[_ROTARY] = _own.pop(module)


def drawn(*shape: int) -> Tensor:
    """Numbers to try layers with, always the same."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def tried(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What it gives; None where it wants something else, as a norm with a gate does."""
    try:
        return function(*given, **named)
    except Exception as error:  # of whatever kind: it is a model's own code, and stays as it is
        log.debug("not computed by a kernel: %s: %s", type(error).__name__, error)
        return None


def _agree(expected: Tensor | None, found: Tensor) -> bool:
    if expected is None or expected.shape != found.shape:
        return False
    return torch.allclose(expected, found, rtol=1e-5, atol=1e-6)
