"""A model's digest: the same for the same weights in any form, another for other weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from hanji.models.identity import SAMPLED, weights_digest
from tiny_models import tiny


def test_the_same_weights_whatever_their_precision(tmp_path: Path) -> None:
    model = tiny("llama").bfloat16()
    digest = weights_digest(model)
    assert weights_digest(tiny("llama").bfloat16().float()) == digest
    assert weights_digest(tiny("llama")) == digest  # fp32 weights are rounded before they are compared
    model.save_pretrained(tmp_path)
    assert weights_digest(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)) == digest
    assert len(digest) == 64


@pytest.mark.parametrize(
    "name",
    ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"],
)
def test_a_change_of_any_parameter_is_seen(name: str) -> None:
    model = tiny("llama")
    before = weights_digest(model)
    with torch.no_grad():
        model.get_parameter(name).mul_(1.02)
    assert weights_digest(model) != before


def test_training_and_gradients_do_not_count() -> None:
    model = tiny("bert", "masked")
    before = weights_digest(model)
    model.train().requires_grad_(False)
    assert weights_digest(model) == before


def test_shapes_and_names_count() -> None:
    flat, square = nn.Linear(4, 1, bias=False), nn.Linear(2, 2, bias=False)
    for module in (flat, square):
        nn.init.ones_(module.weight)
    assert weights_digest(flat) != weights_digest(square)
    assert weights_digest(nn.ModuleDict({"a": flat})) != weights_digest(nn.ModuleDict({"b": flat}))


def test_a_new_head_can_be_left_out() -> None:
    one, other = tiny("bert", "classification"), tiny("bert", "classification")
    nn.init.normal_(other.classifier.weight)
    assert weights_digest(one) != weights_digest(other)
    assert weights_digest(one, ["classifier"]) == weights_digest(other, ["classifier"])
    nn.init.normal_(other.bert.pooler.dense.weight)
    assert weights_digest(one, ["classifier"]) != weights_digest(other, ["classifier"])
    assert weights_digest(one, ["class"]) == weights_digest(one), "a part of a name is not a module"


def test_what_is_sampled_is_spread_over_a_large_tensor() -> None:
    large = nn.Linear(1000, 100, bias=False)
    before = weights_digest(large)
    with torch.no_grad():
        large.weight[60:].mul_(1.5)
    assert weights_digest(large) != before
    assert large.weight.numel() > 100 * SAMPLED
