"""What a method saved, put back into its base model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from torch import nn

from hanji.contracts.errors import ModelError
from hanji.methods.attached import load_attached, merge_attached
from hanji.methods.prompt import load_prompt

ADDED: Final = "adapter_config.json"
"""A directory with this file holds what was added to a model."""


def load_added(model: nn.Module, directory: Path) -> nn.Module:
    """The base model with what lies in `directory`, in PEFT's format: LoRA, adapters, soft prompts.

    Raises:
        ModelError: it is of another model, or of a kind that is not known here.
    """
    kind = json.loads((directory / ADDED).read_text(encoding="utf-8")).get("peft_type")
    if kind == "PROMPT_TUNING":
        return load_prompt(model, directory)
    if kind == "BOTTLENECK":
        import hanji.methods.bottleneck  # noqa: F401 - PEFT knows the kind from then on
    elif kind in ("PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "ADAPTION_PROMPT"):
        raise ModelError(
            "this kind of adapter gives vectors to every layer, which packed rows and our cache cannot hold",
            where=str(directory / ADDED),
            value=kind,
            hint="take a soft prompt (method: prompt) instead",
        )
    return load_attached(model, directory)[0]


def load_merged(model: nn.Module, directory: Path) -> nn.Module:
    """The base model with a saved LoRA in its own weights.

    Raises:
        ModelError: what lies there cannot be merged.
    """
    kind = json.loads((directory / ADDED).read_text(encoding="utf-8")).get("peft_type")
    if kind in ("PROMPT_TUNING", "BOTTLENECK"):
        raise ModelError(
            "this model is a base with something beside it that cannot become part of its weights",
            where=str(directory),
            value=kind,
            expected="a whole model, or a LoRA",
            hint="start from the base model, or from a stage with method: lora, freeze or full",
        )
    _, peft = load_attached(model, directory)
    return merge_attached(peft)
