"""Parts of a transformers model, found by its structure: blocks, head, linear modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

LINEAR = (nn.Linear, Conv1D)


def block_list(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The transformer blocks, first to last, and their name: the outermost list of modules, the longest of
    equals."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    assert lists, f"{type(model).__name__} has no list of blocks"
    return min(lists, key=lambda named: (named[0].count("."), -len(named[1])))


def linear_names(module: nn.Module) -> list[str]:
    """Names of the linear modules in `module`."""
    return [name for name, part in module.named_modules() if isinstance(part, LINEAR)]


def head_modules(model: Any, new: Sequence[str] = ()) -> list[str]:
    """Modules behind the body that have parameters of their own, and those that are `new`.

    What only holds the embedding's matrix, as a tied output head, is none of them.
    """
    embedding = model.get_input_embeddings()
    tied = {id(parameter) for parameter in embedding.parameters()}
    behind = [
        name
        for name, part in model.named_children()
        if name != model.base_model_prefix and any(id(p) not in tied for p in part.parameters())
    ]
    inside = [name for name in new if name.split(".")[0] not in behind]
    return behind + inside


def is_classifier(model: nn.Module) -> bool:
    """Whether it ends in a classification head."""
    return type(model).__name__.endswith("ForSequenceClassification")


def task_type(model: Any) -> str | None:
    """PEFT's word for what the model ends in."""
    if is_classifier(model):
        return "SEQ_CLS"
    return "CAUSAL_LM" if model.can_generate() else "FEATURE_EXTRACTION"
