"""What a model ends in, and which architectures have it: asked of transformers, before anything is loaded."""

from __future__ import annotations

from typing import Any, Final

from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    PretrainedConfig,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from hanji.contracts.errors import ConfigError
from hanji.contracts.protocols import Head

CLASSES: Final[dict[Head, Any]] = {
    "causal": AutoModelForCausalLM,
    "masked": AutoModelForMaskedLM,
    "pretraining": AutoModelForPreTraining,
    "classification": AutoModelForSequenceClassification,
}
"""Head → the class that builds or loads a model with it."""

RELATION_HEADS: Final = {
    "albert": "sop_logits",
    "bert": "seq_relationship_logits",
    "big_bird": "seq_relationship_logits",
    "fnet": "seq_relationship_logits",
    "megatron-bert": "seq_relationship_logits",
    "mobilebert": "seq_relationship_logits",
}
"""Architectures whose pre-training class also tells how two texts stand to each other, and the name of that
output."""


def is_encoder(config: PretrainedConfig) -> bool:
    """Whether the architecture reads in both directions."""
    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)


def check_head(config: PretrainedConfig, head: Head, objective: str) -> None:
    """Refuses an architecture that cannot end in `head`; nothing is loaded for it.

    Raises:
        ConfigError: a fact about the architecture.
    """
    problem = why_not(config, head)
    if problem is not None:
        raise ConfigError(
            f"{objective} cannot train a model of type {config.model_type}: {problem}",
            where="objective",
            value=objective,
            expected="a model with a head for it, or an objective that fits the model",
        )


def why_not(config: PretrainedConfig, head: Head) -> str | None:
    """Why models of this architecture cannot end in `head`; None where they can."""
    kind = config.model_type
    if head == "causal" and is_encoder(config):
        return "it reads in both directions, and would see the token that it is to predict"
    if head == "causal" and kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "transformers has no causal language model of it"
    if head in ("masked", "pretraining") and not is_encoder(config):
        return "it looks back only, and has no head for hidden tokens"
    if head == "pretraining" and kind not in RELATION_HEADS:
        return f"it has no head for two texts; these have one: {', '.join(RELATION_HEADS)}"
    if head == "classification" and kind not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return "transformers has no classification head for it"
    return None


def head_of(config: PretrainedConfig) -> Head:
    """The head of a saved model, by the class that its config names; the usual one where it names none."""
    name = (config.architectures or [""])[0]
    if name.endswith("ForSequenceClassification"):
        return "classification"
    if name.endswith("ForPreTraining") and config.model_type in RELATION_HEADS:
        return "pretraining"
    return "masked" if is_encoder(config) else "causal"


def new_modules(model: nn.Module, missing: list[str]) -> tuple[str, ...]:
    """The largest modules of which every parameter is `missing` in what was loaded: they have random weights.

    Args:
        missing: names of parameters.
    """
    absent = set(missing)
    found: list[str] = []
    for name, module in model.named_modules():
        own = {f"{name}.{parameter}" for parameter, _ in module.named_parameters()}
        inside = any(name == known or name.startswith(f"{known}.") for known in found)
        if name and own and own <= absent and not inside:
            found.append(name)
    return tuple(found)
