"""What a model may end in: asked of its config, before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import CONFIG_MAPPING

from hanji.contracts.errors import ConfigError
from hanji.contracts.protocols import Head
from hanji.models.heads import CLASSES, RELATION_HEADS, check_head, head_of, is_encoder, new_modules, why_not
from tiny_models import ENCODERS, FAMILIES, tiny

HEADS: list[Head] = ["causal", "masked", "pretraining", "classification"]


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_what_is_allowed_can_be_built_and_is_what_it_says(family: str) -> None:
    config = tiny(family, "masked" if family in ENCODERS else "causal").config
    assert is_encoder(config) == (family in ENCODERS)
    allowed = [head for head in HEADS if why_not(config, head) is None]
    assert ("causal" in allowed) == (family in FAMILIES)
    assert ("masked" in allowed) == (family in ENCODERS)
    assert ("pretraining" in allowed) == (family in ("bert", "albert"))
    for head in allowed:
        model = tiny(family, head)
        model.config.architectures = [type(model).__name__]
        assert head_of(model.config) == head
        if head == "pretraining":
            assert hasattr(model(input_ids=torch.tensor([[1, 5, 2]])), RELATION_HEADS[family])


@pytest.mark.parametrize(
    ("family", "head", "reason"),
    [
        ("bert", "causal", "reads in both directions"),
        ("llama", "masked", "looks back only"),
        ("llama", "pretraining", "looks back only"),
        ("roberta", "pretraining", "no head for two texts; these have one: albert, bert"),
        ("vit", "causal", "no causal language model"),
        ("mamba", "classification", "no classification head"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(family: str, head: Head, reason: str) -> None:
    config = CONFIG_MAPPING[family]()
    with pytest.raises(ConfigError, match=reason) as caught:
        check_head(config, head, "thing")
    assert family in str(caught.value) and caught.value.where == "objective"


def test_a_bert_that_is_a_decoder_looks_back_only() -> None:
    config = CONFIG_MAPPING["bert"](is_decoder=True)
    assert why_not(config, "causal") is None and why_not(config, "masked") is not None


@pytest.mark.parametrize(
    ("family", "architectures", "head"),
    [
        ("bert", None, "masked"),
        ("bert", ["BertModel"], "masked"),
        ("electra", ["ElectraForPreTraining"], "masked"),  # a discriminator, not two texts
        ("llama", [], "causal"),
        ("llama", ["LlamaForSequenceClassification"], "classification"),
    ],
)
def test_the_head_of_a_saved_model(family: str, architectures: Any, head: Head) -> None:
    config = CONFIG_MAPPING[family]()
    config.architectures = architectures
    assert head_of(config) == head


def test_new_modules_are_the_largest_of_which_everything_is_missing() -> None:
    model = tiny("bert", "classification")
    names = [name for name, _ in model.named_parameters()]
    head = [name for name in names if name.startswith("classifier.")]
    pooler = [name for name in names if ".pooler." in name]
    assert new_modules(model, head) == ("classifier",)
    assert new_modules(model, head + pooler) == ("bert.pooler", "classifier")
    assert new_modules(model, []) == ()
    assert new_modules(model, [name for name in head if name.endswith("bias")]) == ()
    layer = [name for name in names if name.startswith("bert.encoder.layer.1.")]
    assert new_modules(model, layer) == ("bert.encoder.layer.1",)
    assert "bert" in new_modules(model, [name for name in names if name.startswith("bert.")])


def test_a_module_without_parameters_is_not_new() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2))
    assert new_modules(model, ["0.weight", "0.bias"]) == ("0",)


def test_every_head_has_a_class() -> None:
    assert set(CLASSES) == set(HEADS)
