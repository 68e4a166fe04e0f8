"""Matrices kept in 4 bits: what QLoRA learns beside, and how everyone who loads it makes them again.

NF4 with double quantisation (Dettmers et al. 2023), by bitsandbytes' kernels. A block of 64 values has a
scale, and 256 scales have one in turn: 4.13 bits for each value. A layer is a `nn.Linear` whose `weight` is
computed whenever it is read, so that whoever knows linear modules (PEFT, DoRA, the plan) needs no more.
Its parts are buffers: FSDP leaves them whole on each rank, and no checkpoint repeats what the base says.

Quantisation is computed on the CPU from fp32, so that training and every later load have the same bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.quantizers_utils import should_convert_module

from hanji.contracts.blocks import block_list
from hanji.contracts.errors import ConfigError

INSTALL: Final = "pip install 'hanji[quantised]'"

_BLOCK: Final = 64
_SCALES_BLOCK: Final = 256
_KIND: Final = "nf4"
_SKIPPED: Final = "llm_int8_skip_modules"
_WAY: Final[Mapping[str, Any]] = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": _KIND,
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_compute_dtype": "float32",
}
"""The arguments of transformers' `BitsAndBytesConfig` that say the same, but for the modules left out."""


class QuantisedLinear(nn.Linear):
    """A linear module whose matrix is in 4 bits; its bias is not, and may learn.

    Args:
        linear: what it stands for: a `nn.Linear`, or GPT-2's `Conv1D`, whose matrix lies the other way round.

    Attributes:
        was_turned: whether it stands for a `Conv1D`.
    """

    packed: Tensor
    scales: Tensor
    scale_of_scales: Tensor
    code: Tensor
    offset: Tensor

    def __init__(self, linear: nn.Linear | Conv1D) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would make a matrix
        self.was_turned = isinstance(linear, Conv1D)
        matrix = linear.weight.detach().T if self.was_turned else linear.weight.detach()
        self.out_features, self.in_features = matrix.shape
        self.bias = linear.bias
        from bitsandbytes.functional import quantize_4bit

        values = matrix.to("meta" if matrix.is_meta else "cpu", torch.float32).contiguous()
        packed, state = quantize_4bit(values, blocksize=_BLOCK, compress_statistics=True, quant_type=_KIND)
        parts = {
            "packed": packed, "scales": state.absmax, "scale_of_scales": state.state2.absmax,
            "code": state.state2.code, "offset": state.offset,
        }  # fmt: skip
        for name, part in parts.items():
            self.register_buffer(name, part.to(matrix.device), persistent=False)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """[out_features, in_features] fp32, the matrix as it was rounded."""
        operations = torch.ops.bitsandbytes
        scales = operations.dequantize_blockwise.default(
            self.scales, self.scale_of_scales, self.code, _SCALES_BLOCK, torch.float32
        )
        shape = (self.out_features, self.in_features)
        matrix: Tensor = operations.dequantize_4bit.default(
            self.packed, scales + self.offset, _BLOCK, _KIND, shape, torch.float32
        )
        return matrix

    def forward(self, states: Tensor) -> Tensor:
        """[..., in_features] → [..., out_features], in the type of the states, or that of autocast."""
        if torch.is_autocast_enabled(states.device.type):
            states = states.to(torch.get_autocast_dtype(states.device.type))
        product: Tensor = _Product.apply(states, self)  # type: ignore[no-untyped-call]
        return product if self.bias is None else product + self.bias.to(product.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantisedLinear:
        """Moves with the model to a device; a cast of the model leaves the scales in fp32."""
        kept = {name: part for name, part in self.named_buffers(recurse=False) if part.is_floating_point()}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, part in kept.items():
            if getattr(self, name).dtype != part.dtype:
                setattr(self, name, part.to(getattr(self, name).device))
        return self


class _Product(torch.autograd.Function):
    """states · Wᵀ; W is computed again for the backward pass instead of being kept until then."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, layer: QuantisedLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(states, layer.weight.to(states.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.weight.to(gradient.dtype), None


@cache
def why_not() -> str | None:
    """Why nothing can be kept in 4 bits here; None where it can."""
    try:
        import bitsandbytes  # noqa: F401 - registers the operations

        values = torch.linspace(-1, 1, 2 * _BLOCK).view(2, _BLOCK)
        with torch.no_grad():
            layer = nn.Linear(_BLOCK, 2, bias=False)
            layer.weight.copy_(values)
            rounded = QuantisedLinear(layer).weight
    except ModuleNotFoundError:
        return "bitsandbytes is not installed"
    except Exception as error:  # a library that does not load fails in its own way on each system
        first, *_ = str(error).splitlines() or [""]
        return f"bitsandbytes does not run here ({type(error).__name__}: {first[:120]})"
    return (
        None
        if torch.allclose(rounded, values, atol=0.2)
        else "bitsandbytes gives other values here than it was given"
    )


def check_runs() -> None:
    """Refuses where nothing can be kept in 4 bits.

    Raises:
        ConfigError: with the reason.
    """
    reason = why_not()
    if reason is not None:
        raise ConfigError(
            "the base cannot be kept in 4 bits", where="method", value=reason, expected=INSTALL,
            hint="or take lora, with train.activation_checkpointing: true where memory is short",
        )  # fmt: skip


def quantization_of(model: nn.Module) -> dict[str, Any]:
    """How a model is to be quantised, as the arguments of transformers' `BitsAndBytesConfig`: the linear
    modules of its blocks, and nothing outside of them."""
    blocks, _ = block_list(model)
    outside = [name for name in _convertible(model, ()) if not name.startswith(f"{blocks}.")]
    return {**_WAY, _SKIPPED: outside}


def quantise(model: nn.Module, quantization: Mapping[str, Any]) -> None:
    """Puts layers in 4 bits into the model, one after the other; what else it has becomes at
    least fp32.

    Parameters that lie in a mapped file are copied, so that the file can be let go.

    Args:
        quantization: of `quantization_of`.

    Raises:
        ConfigError: nothing can be quantised here, or not so, or there is nothing to quantise.
    """
    check_runs()
    if {name: quantization.get(name) for name in _WAY} != dict(_WAY):
        raise ConfigError(
            "this way to quantise is not known here", where=_SKIPPED, value=dict(quantization),
            expected=str(dict(_WAY)),
        )  # fmt: skip
    names = _convertible(model, quantization[_SKIPPED])
    if not names:
        raise ConfigError(
            "this model has no linear modules that could be kept in 4 bits", where="method",
            value=type(model).__name__, hint="take lora: what is quantised already is not quantised again",
        )  # fmt: skip
    for name in names:
        linear: Any = model.get_submodule(name).requires_grad_(False)
        model.set_submodule(name, QuantisedLinear(linear))
    for parameter in model.parameters():
        if parameter.is_floating_point() and not parameter.is_meta:
            wide = torch.promote_types(parameter.dtype, torch.float32)
            parameter.data = parameter.detach().to(wide, copy=True)
    with suppress(OSError, AttributeError):  # another system, or another C library
        ctypes.CDLL(None).malloc_trim(0)  # each matrix left holes behind, more than the layers take together


def dequantise(model: nn.Module) -> list[str]:
    """Puts plain modules with the rounded matrices in the place of layers in 4 bits.

    Returns:
        The names of those that `turn_back` has to turn, once PEFT's layers around them are gone.
    """
    turned: list[str] = []
    for name, layer in _quantised(model):
        plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        plain.weight = nn.Parameter(layer.weight, requires_grad=False)
        plain.bias = layer.bias
        model.set_submodule(name, plain)
        if layer.was_turned:
            turned.append(name.removesuffix(".base_layer"))
    return turned


def turn_back(model: nn.Module, names: Iterable[str]) -> None:
    """Makes these linear modules `Conv1D` again."""
    for name in names:
        linear: Any = model.get_submodule(name)
        with torch.device("meta"):
            plain = Conv1D(linear.out_features, linear.in_features)
        plain.weight = nn.Parameter(linear.weight.detach().T.contiguous(), requires_grad=False)
        plain.bias = linear.bias
        model.set_submodule(name, plain)


def parameter_count(model: nn.Module) -> int:
    """Parameters, with those in 4 bits, which PyTorch does not count."""
    inside = sum(layer.in_features * layer.out_features for _, layer in _quantised(model))
    return inside + sum(parameter.numel() for parameter in model.parameters())


def _quantised(model: nn.Module) -> list[tuple[str, QuantisedLinear]]:
    return [(name, part) for name, part in model.named_modules() if isinstance(part, QuantisedLinear)]


def _convertible(model: nn.Module, skipped: Sequence[str]) -> list[str]:
    """The modules that transformers would quantise, with its own rule for those that are to be left out."""
    out = [*skipped, *(getattr(model, "_keep_in_fp32_modules", None) or ())]
    linear = [
        name for name, part in model.named_modules() if isinstance(part, Conv1D) or type(part) is nn.Linear
    ]
    return [name for name in linear if should_convert_module(name, out)]
