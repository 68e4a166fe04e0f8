"""What an adapter is, in tensors, as it lies in PEFT's directories."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hanji.contracts.errors import ModelError
from hanji.contracts.hub import cannot_load
from hanji.methods.prompt import WEIGHTS
from hanji.methods.saved import ADDED

Reads = Literal["input", "output", "feed-forward"]

_INNER: Final = "base_model.model."


@dataclass(frozen=True, slots=True)
class Part:
    """What an adapter adds at one linear module: up(activation(down(read)) + biases).

    Attributes:
        reads: the module's input (LoRA), its output (a bottleneck), or what its feed-forward reads (a
            parallel bottleneck).
        activation: a name that transformers knows; None for none.
        down: [rank, width read] and its bias [rank]. up: [width, rank] and its bias [width]; scaled.
    """

    reads: Reads
    activation: str | None
    down: Tensor
    down_bias: Tensor | None
    up: Tensor
    up_bias: Tensor | None

    @property
    def is_low_rank(self) -> bool:
        """Whether it is a product of two matrices and the module's input, as LoRA."""
        extra = (self.activation, self.down_bias, self.up_bias)
        return self.reads == "input" and all(one is None for one in extra)


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """What lies in an adapter's directory.

    Attributes:
        parts: by the name of the module; empty for a soft prompt.
        prompt: [virtual tokens, embedding size], of a soft prompt.
    """

    parts: Mapping[str, Part]
    prompt: Tensor | None = None


def read_adapter(model: Any, directory: Path) -> Adapter:
    """An adapter's tensors, where the model is and of its type.

    Raises:
        ModelError: it holds what has no place here.
    """
    config, modules = read_config(directory), adapted_modules(model, directory)
    tensors = {
        name.removeprefix(_INNER): tensor.to(device=model.device, dtype=model.dtype)
        for name, tensor in load_file(str(directory / WEIGHTS)).items()
    }
    if config["peft_type"] == "PROMPT_TUNING":
        return Adapter({}, tensors["prompt_embeddings"])
    read = _lora_part if config["peft_type"] == "LORA" else _bottleneck_part
    return Adapter({module: read(config, module, tensors) for module in modules})


def adapted_modules(model: Any, directory: Path) -> list[str]:
    """The linear modules beside which an adapter stands; of a soft prompt none. Names and shapes are read.

    Raises:
        ModelError: it holds what has no place here, or fits another model.
    """
    try:
        with safe_open(str(directory / WEIGHTS), framework="pt") as file:
            shapes = {
                name.removeprefix(_INNER): tuple(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118 - it is no mapping
            }
    except (OSError, SafetensorError) as error:
        where = str(directory / WEIGHTS)
        raise cannot_load("this adapter cannot be read", where, error, expected="safetensors") from error
    ends = (".lora_A.weight", ".bottleneck_down.weight")
    modules = [name.removesuffix(end) for name in shapes for end in ends if name.endswith(end)]
    own = dict(model.named_modules(remove_duplicate=False))
    head = model.get_output_embeddings()  # it is asked for few tokens of a pass only
    linear = {name for name in modules if own.get(name) is not head and _widths(own.get(name))}
    if unknown := sorted({*shapes} - {f"{name}{end}" for name in linear for end in _ENDS} - _PROMPT):
        raise ModelError(
            "this adapter holds more than matrices beside linear modules within the model",
            where=str(directory / WEIGHTS), value=unknown[:3],
            hint="save it merged (merge: true) and serve it as a model of its own",
        )  # fmt: skip
    for module in modules:
        _check_shapes(directory, module, _widths(own[module]), shapes)
    return modules


def _check_shapes(
    directory: Path, module: str, widths: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    into, out = widths
    down, up = (shapes.get(f"{module}{end}") for end in (".lora_A.weight", ".lora_B.weight"))
    if down is None:  # a bottleneck reads what the module gives, or what is as wide
        into = out
        down, up = (shapes.get(f"{module}.bottleneck_{end}.weight") for end in ("down", "up"))
    if down is None or (down, up) != ((down[0], into), (out, down[0])):
        raise ModelError(
            "this adapter is of a model of other sizes",
            where=f"{directory / WEIGHTS}: {module}", value=f"{down}, {up}",
            expected=f"(rank, {into}), ({out}, rank)",
        )  # fmt: skip


def _widths(module: Any) -> tuple[int, ...]:
    """What a linear module reads, and what it gives; nothing of others."""
    if isinstance(module, Conv1D):
        return tuple(module.weight.shape)
    return tuple(module.weight.shape)[::-1] if isinstance(module, nn.Linear) else ()


_PROMPT: Final = {"prompt_embeddings"}
_ENDS: Final = (
    ".lora_A.weight", ".lora_B.weight", ".bottleneck_down.weight", ".bottleneck_down.bias",
    ".bottleneck_up.weight", ".bottleneck_up.bias",
)  # fmt: skip


def _lora_part(config: Mapping[str, Any], module: str, tensors: Mapping[str, Tensor]) -> Part:
    down, up = tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"]
    alpha = _of_module(config.get("alpha_pattern") or {}, module, config["lora_alpha"])
    rank = len(down)
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    return Part("input", None, down, None, up * scale, None)


def _bottleneck_part(config: Mapping[str, Any], module: str, tensors: Mapping[str, Tensor]) -> Part:
    scale = config["scaling"]
    return Part(
        "feed-forward" if config["placement"] == "parallel" else "output",
        config["activation"],
        tensors[f"{module}.bottleneck_down.weight"],
        tensors[f"{module}.bottleneck_down.bias"],
        tensors[f"{module}.bottleneck_up.weight"] * scale,
        tensors[f"{module}.bottleneck_up.bias"] * scale,
    )


def _of_module(pattern: Mapping[str, Any], module: str, usual: Any) -> Any:
    """PEFT's rule: the first key that ends the module's name, or matches it."""
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return usual


def read_config(directory: Path) -> dict[str, Any]:
    """PEFT's config of an adapter.

    Raises:
        ModelError: there is none.
    """
    try:
        config: dict[str, Any] = json.loads((directory / ADDED).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            "this is no adapter", where=str(directory), expected=f"a directory with {ADDED}"
        ) from error
    return config


def why_alone(config: Mapping[str, Any], has_head: bool, on_quantised: bool = False) -> str | None:
    """Why an adapter must be served as a model of its own; None if it need not."""
    kind = config.get("peft_type")
    if on_quantised:
        return "it belongs to the base in 4 bits, and others to the base as it is"
    if kind not in ("LORA", "BOTTLENECK", "PROMPT_TUNING"):
        return f"{kind} is of another form"
    if has_head or config.get("modules_to_save"):
        return "it has a head of its own"
    if config.get("use_dora"):
        return "DoRA scales the base's own output"
    if kind == "LORA" and config.get("bias", "none") != "none":
        return "it changes biases of the base"
    return None
