"""Several adapters over one base model: each slot has one of them, or none, and all slots share a step.

LoRA and bottleneck adapters are of one form, `output + up(activation(down(read)))`. So the parts of all slots
are stacked, and a step multiplies each row by those of its own slot. Soft prompts are ids past the
vocabulary, each with ids of its own.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.activations import ACT2FN

from hanji.artifacts.models import BASE, base_of
from hanji.contracts.errors import ModelError
from hanji.generation.slots import current_step
from hanji.methods.bottleneck.sites import feed_forward_input, linear_modules
from hanji.methods.saved import ADDED
from hanji.models.identity import weights_digest

Reads = Literal["input", "output", "feed-forward"]

WEIGHTS: Final = "adapter_model.safetensors"
KEPT: Final = 64
"""Adapters that stay in memory; others are read again when they are asked for."""
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


@dataclass(frozen=True, slots=True)
class Adapter:
    """What lies in an adapter's directory.

    Attributes:
        parts: by the name of the module; empty for a soft prompt.
        prompt: [virtual tokens, embedding size], of a soft prompt.
    """

    parts: Mapping[str, Part]
    prompt: Tensor | None = None


class Site:
    """The parts of all slots at one module, of one form.

    Attributes:
        users: slots whose adapter has a part here.
    """

    def __init__(self, slots: int, part: Part) -> None:
        self.reads, self.activation = part.reads, part.activation
        self.act = nn.Identity() if part.activation is None else ACT2FN[part.activation]
        self.users: set[int] = set()
        self.caught: Tensor | None = None
        like, out, into = part.down.new_zeros, len(part.up), part.down.shape[1]
        self.down, self.down_bias = like((slots, 0, into)), like((slots, 0))
        self.up, self.up_bias = like((slots, out, 0)), like((slots, out))

    def put(self, slot: int, part: Part | None) -> None:
        """Gives a slot its part, or none."""
        if part is None and slot not in self.users:
            return
        rank = 0 if part is None else len(part.down)
        if (more := rank - self.down.shape[1]) > 0:
            self.down = F.pad(self.down, (0, 0, 0, more))
            self.down_bias = F.pad(self.down_bias, (0, more))
            self.up = F.pad(self.up, (0, more))
        for tensor in (self.down, self.down_bias, self.up, self.up_bias):
            tensor[slot].zero_()
        self.users.discard(slot)
        if part is None:
            return
        self.down[slot, :rank] = part.down
        self.up[slot, :, :rank] = part.up
        if part.down_bias is not None:
            self.down_bias[slot, :rank] = part.down_bias
        if part.up_bias is not None:
            self.up_bias[slot] = part.up_bias
        self.users.add(slot)

    def add(self, output: Tensor, read: Tensor) -> Tensor:
        """[rows, tokens, width] with what the adapters of the rows' slots add."""
        step = current_step()
        rows = slice(None) if step.slot is None else slice(step.slot, step.slot + 1)
        hidden = self.act(torch.baddbmm(self.down_bias[rows, None], read, self.down[rows].transpose(1, 2)))
        return output + torch.baddbmm(self.up_bias[rows, None], hidden, self.up[rows].transpose(1, 2))

    @property
    def works(self) -> bool:
        """Whether any row of the present step has a part here."""
        step = current_step()
        return bool(self.users) if step.slot is None else step.slot in self.users


class PromptTable(nn.Module):
    """The model's input embedding, with the vectors of several soft prompts for the ids past its end."""

    def __init__(self, base: nn.Embedding) -> None:
        super().__init__()
        self.base = base
        self.vectors = base.weight.new_zeros((0, base.weight.shape[1]))

    @property
    def weight(self) -> Tensor:
        """[vocabulary, embedding size] of the model's own embedding."""
        return self.base.weight

    def add(self, prompt: Tensor) -> int:
        """The id of the prompt's first vector."""
        first = self.base.weight.shape[0] + len(self.vectors)
        self.vectors = torch.cat([self.vectors, prompt.to(self.vectors)])
        return first

    def forward(self, ids: Tensor) -> Tensor:
        """ids: [...] → [..., embedding size]"""
        place = ids - self.base.weight.shape[0]
        embedded: Tensor = self.base(torch.where(place < 0, ids, 0))
        learned = F.embedding(place.clamp_min(0), self.vectors)
        return torch.where((place < 0)[..., None], embedded, learned)


@dataclass
class Adapters:
    """The adapters that an engine knows.

    Args:
        model: the base.
        slots: of the engine.
        kept: how many stay in memory.
    """

    model: Any
    slots: int
    kept: int = KEPT
    places: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._loaded: OrderedDict[str, Adapter] = OrderedDict()
        self._prompts: dict[str, tuple[int, ...]] = {}
        self._sites: dict[str, list[Site]] = {}
        self._hooks: list[RemovableHandle] = []
        self._own: list[str | None] = [None] * self.slots
        self._table: PromptTable | None = None
        self._digests: dict[tuple[str, ...], str] = {}

    def add(self, name: str, directory: str | Path) -> None:
        """Makes an adapter known under a name. It is looked at now, and read when it is first asked for.

        Raises:
            ModelError: it is of another base, or of a kind that cannot share a step with others.
        """
        self._check(Path(directory))
        self.places[name] = Path(directory)

    def identity(self, name: str | None) -> str:
        """What keys and values depend on besides the tokens."""
        return "" if name is None else f"{name} {self.places.get(name)}"

    def remove(self, name: str) -> None:
        """Forgets an adapter; answers under way keep it."""
        self.places.pop(name, None)
        self._loaded.pop(name, None)

    def virtual_ids(self, name: str | None) -> tuple[int, ...]:
        """What every prompt to this adapter begins with.

        Raises:
            ModelError: there is no adapter of this name.
        """
        if name is None:
            return ()
        adapter = self.load(name)
        if adapter.prompt is None:
            return ()
        if name not in self._prompts:
            if self._table is None:
                self._table = PromptTable(self.model.get_input_embeddings())
                self.model.set_input_embeddings(self._table)
            first = self._table.add(adapter.prompt)
            self._prompts[name] = tuple(range(first, first + len(adapter.prompt)))
        return self._prompts[name]

    def assign(self, slot: int, name: str | None) -> None:
        """The adapter of a slot from now on."""
        if self._own[slot] == name:
            return
        parts = {} if name is None else self.load(name).parts
        for module, part in parts.items():
            self._site(module, part)
        for module, sites in self._sites.items():
            own = parts.get(module)
            for site in sites:
                fits = own is not None and (site.reads, site.activation) == (own.reads, own.activation)
                site.put(slot, own if fits else None)
        self._own[slot] = name

    def load(self, name: str) -> Adapter:
        """An adapter's tensors.

        Raises:
            ModelError: there is no adapter of this name.
        """
        if name not in self._loaded:
            if name not in self.places:
                raise ModelError(
                    "there is no adapter of this name", value=name, expected=", ".join(self.places) or "none"
                )
            self._loaded[name] = _read(self.model, self.places[name])
            while len(self._loaded) > self.kept:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def close(self) -> None:
        """The model is as it was."""
        for hook in self._hooks:
            hook.remove()
        if self._table is not None:
            self.model.set_input_embeddings(self._table.base)

    def _site(self, name: str, part: Part) -> None:
        sites = self._sites.setdefault(name, [])
        if any((site.reads, site.activation) == (part.reads, part.activation) for site in sites):
            return
        site = Site(self.slots, part)
        sites.append(site)
        module = self.model.get_submodule(name)
        if part.reads == "feed-forward":
            first = feed_forward_input(linear_modules(self.model), name)
            assert first is not None, name
            self._hooks.append(
                self.model.get_submodule(first).register_forward_pre_hook(partial(_catch, site))
            )
        self._hooks.append(module.register_forward_hook(partial(_add, site)))

    def _check(self, directory: Path) -> None:
        config = _config(directory)
        about = base_of(directory) if (directory / BASE).is_file() else None
        reason = _why_alone(config, about is not None and bool(about.new))
        if reason is not None:
            raise ModelError(
                "this adapter cannot share a base with others",
                where=str(directory / ADDED),
                value=reason,
                hint="save it merged (hanji export --to merged) and serve it as a model of its own",
            )
        if about is not None:
            own = self._digests.get(about.new)
            if own is None:
                own = self._digests[about.new] = weights_digest(self.model, about.new)
            if own != about.weights:
                raise ModelError(
                    "this adapter was trained on another base model",
                    where=str(directory),
                    value=f"weights {own[:12]}",
                    expected=f"weights {about.weights[:12]}",
                )


def _catch(site: Site, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if site.works:
        site.caught = inputs[0]


def _add(site: Site, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    if not site.works:
        return None
    read = output if site.reads == "output" else inputs[0]
    if site.reads == "feed-forward":
        assert site.caught is not None
        read, site.caught = site.caught, None
    return site.add(output, read)


def _config(directory: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((directory / ADDED).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            "this is no adapter", where=str(directory), expected=f"a directory with {ADDED}"
        ) from error
    return config


def _why_alone(config: Mapping[str, Any], has_head: bool) -> str | None:
    """Why an adapter must be served as a model of its own; None if it need not."""
    kind = config.get("peft_type")
    if kind not in ("LORA", "BOTTLENECK", "PROMPT_TUNING"):
        return f"{kind} is of another form"
    if has_head or config.get("modules_to_save"):
        return "it has a head of its own"
    if config.get("use_dora"):
        return "DoRA scales the base's own output"
    if kind == "LORA" and config.get("bias", "none") != "none":
        return "it changes biases of the base"
    return None


def _read(model: Any, directory: Path) -> Adapter:
    config = _config(directory)
    tensors = {
        name.removeprefix(_INNER): tensor.to(device=model.device, dtype=model.dtype)
        for name, tensor in load_file(str(directory / WEIGHTS)).items()
    }
    if config["peft_type"] == "PROMPT_TUNING":
        return Adapter({}, tensors["prompt_embeddings"])
    read = _lora_part if config["peft_type"] == "LORA" else _bottleneck_part
    ends = (".lora_A.weight", ".bottleneck_down.weight")
    modules = [name.removesuffix(end) for name in tensors for end in ends if name.endswith(end)]
    known = {f"{module}{end}" for module in modules for end in _ENDS}
    if unknown := sorted(set(tensors) - known):
        raise ModelError(
            "this adapter holds more than matrices beside linear modules",
            where=str(directory / WEIGHTS), value=unknown[:3],
            hint="save it merged (merge: true) and serve it as a model of its own",
        )  # fmt: skip
    return Adapter({module: read(config, module, tensors) for module in modules})


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
