"""Where adapters go in a model: the output projections of attention and feed-forward, found by their names.

transformers names the parts of a block in a few ways that hold for nearly all of its decoders and encoders. A
block is a numbered child (`model.layers.3`, `bert.encoder.layer.3`); a site counts only where every block of
its list has exactly one, so that a model of mixed blocks or of experts is refused, not adapted in part.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from hanji.contracts.errors import ConfigError, nearest

ATTENTION_OUTPUT = re.compile(
    r"(.*\.)?\w*(attn|attention)(\.\w+)?\.(o_proj|out_proj|c_proj|out_lin|dense|Wo|o)", re.IGNORECASE
)
"""Name within a block: `self_attn.o_proj`, `attn.c_proj`, `attention.output.dense`, ..."""

FEED_FORWARD: dict[str, tuple[str, ...]] = {
    "down_proj": ("up_proj", "gate_up_proj"),  # Llama, Qwen, Mistral, Gemma; Phi-3, GLM
    "c_proj": ("c_fc",),  # GPT-2
    "output.dense": ("intermediate.dense",),  # BERT, RoBERTa, ELECTRA, DeBERTa
    "Wo": ("Wi",),  # ModernBERT
    "lin2": ("lin1",),  # DistilBERT
    "ffn_output": ("ffn",),  # ALBERT
    "fc2": ("fc1",),  # OPT, Phi
    "fc_out": ("fc_in",),  # GPT-J
    "dense_4h_to_h": ("dense_h_to_4h",),  # GPT-NeoX, BLOOM, Falcon
}
"""Last projection of a feed-forward → its first, beside it, which reads what the whole feed-forward reads."""


class Block(NamedTuple):
    """A numbered child of a model, as `("model.layers", 3)`."""

    of: str
    number: int


def linear_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The linear modules of a model by name.

    What adapters have wrapped counts once, under its own name; what `modules_to_save` copied does not count.
    """
    found: dict[str, nn.Module] = {}
    wrapper = "\n"  # in no name
    for name, module in model.named_modules():
        if name.startswith(wrapper):
            continue
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            wrapper = f"{name}."
        if isinstance(module, BaseTunerLayer):
            module = module.get_base_layer()
        if isinstance(module, (nn.Linear, Conv1D)):
            found[name] = module
    return found


def out_features(linear: nn.Module) -> int:
    """How wide a linear module's output is."""
    return int(linear.nf if isinstance(linear, Conv1D) else linear.out_features)  # type: ignore[arg-type]


def feed_forward_input(names: Collection[str], output: str) -> str | None:
    """The first projection of the feed-forward whose last one is `output`; None where that is not known."""
    for last, firsts in FEED_FORWARD.items():
        if output == last or output.endswith(f".{last}"):
            beside = (output.removesuffix(last) + first for first in firsts)
            return next((name for name in beside if name in names), None)
    return None


def find_sites(names: Sequence[str], placement: str) -> list[str]:
    """The projections whose output is adapted, in the model's order.

    Args:
        names: the model's linear modules.

    Raises:
        ConfigError: the model's blocks have no such projections, or not one each.
    """
    blocks: dict[Block, list[str]] = {}
    for name in names:
        block, inside = split(name)
        if block is not None:
            blocks.setdefault(block, []).append(inside)
    wanted = {
        block: [[name for name in inside if _is_feed_forward(name, block, inside)]]
        + ([[name for name in inside if ATTENTION_OUTPUT.fullmatch(name)]] if placement == "houlsby" else [])
        for block, inside in blocks.items()
    }
    lists = {block.of for block, roles in wanted.items() if any(roles)}
    chosen = {block: roles for block, roles in wanted.items() if block.of in lists}
    odd = next((block for block, roles in chosen.items() if any(len(role) != 1 for role in roles)), None)
    if odd is not None or not chosen:
        raise _not_found(names, blocks, placement, odd)
    sites = {f"{block.of}.{block.number}.{role[0]}" for block, roles in chosen.items() for role in roles}
    return [name for name in names if name in sites]


def named_sites(names: Sequence[str], given: Iterable[str]) -> list[str]:
    """The linear modules that `target_modules` means: a whole name, or else all that end in it, as in PEFT.

    Raises:
        ConfigError: a name that matches nothing; lists what there is.
    """
    sites: set[str] = set()
    for target in given:
        matched = [target] if target in names else [name for name in names if name.endswith(f".{target}")]
        if not matched:
            there = dict.fromkeys(split(name)[1] for name in names)
            near = nearest(target, there)
            raise ConfigError(
                "the model has no linear module of this name",
                where="target_modules",
                value=target,
                expected=", ".join(there),
                hint=f"did you mean {near}?" if near else None,
            )
        sites.update(matched)
    return [name for name in names if name in sites]


def in_layers(sites: Sequence[str], layers: Sequence[int]) -> list[str]:
    """Those of the sites that are in blocks of these numbers.

    Raises:
        ConfigError: a number that no block has.
    """
    numbers = {name: block.number for name in sites if (block := split(name)[0]) is not None}
    for layer in layers:
        if layer not in numbers.values():
            raise ConfigError(
                "the model has no block of this number to adapt",
                where="layers_to_transform",
                value=layer,
                expected=", ".join(str(number) for number in sorted(set(numbers.values()))) or "none",
            )
    return [name for name in sites if numbers.get(name) in layers]


def split(name: str) -> tuple[Block | None, str]:
    """A module's block and its name within that; the innermost block where blocks are nested (ALBERT)."""
    parts = re.fullmatch(r"(?:(.*)\.)?(\d+)\.(.+)", name)
    return (Block(parts[1] or "", int(parts[2])), parts[3]) if parts else (None, name)


def _is_feed_forward(name: str, block: Block, inside: Collection[str]) -> bool:
    return "expert" not in f"{block.of}.{name}" and feed_forward_input(inside, name) is not None


def _not_found(
    names: Sequence[str], blocks: Mapping[Block, Sequence[str]], placement: str, odd: Block | None
) -> ConfigError:
    wanted = "one feed-forward of two or three linear modules"
    if placement == "houlsby":
        wanted += " and one output projection of attention"
    shown = odd or next(iter(blocks), None)
    inside = blocks[shown] if shown else names
    place = f"{shown.of}.{shown.number}" if shown else "it, which has no numbered blocks,"
    return ConfigError(
        f"no place for {placement} adapters is known in this model: its blocks do not each have {wanted}",
        where="target_modules",
        expected=f"linear modules of {place}: {', '.join(inside) or 'none'}",
        hint="name those whose output should be adapted in target_modules",
    )
