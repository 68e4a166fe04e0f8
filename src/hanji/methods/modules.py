"""Parts of a transformers model, found by its structure: head, linear modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.pytorch_utils import Conv1D

LINEAR = (nn.Linear, Conv1D)


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


@contextmanager
def standing_in(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Other values for some parameters by name, inside; also where they are spread over ranks."""
    parameters = {name: p.detach() for name, p in model.named_parameters() if name in values}
    learned = {name: tensor.clone() for name, tensor in parameters.items()}
    with torch.no_grad():
        for name, tensor in parameters.items():
            value = values[name].to(tensor.device)
            if isinstance(tensor, DTensor):
                value = distribute_tensor(value, tensor.device_mesh, tensor.placements)
            tensor.copy_(value)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in parameters.items():
                tensor.copy_(learned[name])
