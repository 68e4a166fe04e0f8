"""Tiny decoders and encoders with bottlenecks that do something, for the tests of bottleneck adapters."""

from __future__ import annotations

from typing import Any

import torch
from peft import get_peft_model
from transformers import CONFIG_MAPPING, AutoModelForMaskedLM

from hanji.methods.bottleneck import BottleneckConfig
from hanji.methods.bottleneck.layer import BottleneckLayer
from tiny_models import FAMILIES, VOCABULARY, tiny

PLACEMENTS = ("houlsby", "pfeiffer", "parallel")
DECODERS = (
    "llama",
    "gpt2",
    "qwen3",
    "mistral",
    "gemma",
    "gemma2",
    "gemma3_text",
    "granite",
    "cohere",
    "falcon",
)
IDS = torch.randint(3, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(0))

_SHAPE: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
_SHAPE |= {"num_attention_heads": 4, "max_position_embeddings": 64}

ENCODERS: dict[str, dict[str, Any]] = {
    "bert": _SHAPE,
    "roberta": _SHAPE,
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
    "modernbert": {**_SHAPE, "cls_token_id": 1, "sep_token_id": 2},
    "albert": {**_SHAPE, "embedding_size": 16},
    "electra": {**_SHAPE, "embedding_size": 32},
}


def base_model(family: str, **changes: Any) -> Any:
    """A decoder or encoder of the family; the same weights every time."""
    if family == "gemma":
        FAMILIES.setdefault("gemma", {**FAMILIES["llama"], "head_dim": 8})
    if family not in ENCODERS:
        return tiny(family)
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = CONFIG_MAPPING[family](vocab_size=VOCABULARY, **tokens, **ENCODERS[family], **changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForMaskedLM.from_config(config, dtype=torch.float32).eval()


def adapted(family: str, placement: str = "houlsby", **fields: Any) -> Any:
    """The family with adapters that change what it says."""
    fields = {"reduction_factor": 4, **fields}
    model = get_peft_model(base_model(family), BottleneckConfig(placement=placement, **fields))
    stir(model)
    return model.eval()


def layers(model: torch.nn.Module) -> dict[str, BottleneckLayer]:
    """The adapted projections by their names in the base model."""
    return {module.name: module for module in model.modules() if isinstance(module, BottleneckLayer)}


def stir(model: torch.nn.Module, adapter: str = "default", seed: int = 1) -> None:
    """Takes the adapters away from their start, where they do nothing."""
    drawn = torch.Generator().manual_seed(seed)
    for layer in layers(model).values():
        for linear in (layer.bottleneck_down[adapter], layer.bottleneck_up[adapter]):
            for parameter in linear.parameters():
                with torch.no_grad():
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=drawn))


@torch.no_grad()
def logits(model: torch.nn.Module, ids: torch.Tensor = IDS, **kwargs: Any) -> torch.Tensor:
    """[rows, tokens, vocabulary]"""
    return model(input_ids=ids, **kwargs).logits.clone()
