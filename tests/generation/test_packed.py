"""Packed weights: the same answers, in the memory allowed, for the weights as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hanji.generation import Engine, Request
from hanji.generation.packed import PackedLinears
from hanji.generation.slots import Step, at
from tiny_models import VOCABULARY, Ids, tiny

PROMPT = torch.randint(3, VOCABULARY, (21,), generator=torch.Generator().manual_seed(1)).tolist()


def by_transformers(model: Any) -> list[int]:
    """The same answer, from transformers."""
    ids = torch.tensor([PROMPT])
    settings = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    return model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, len(PROMPT) :].tolist()


def answer(engine: Engine) -> list[int]:
    return engine.run([Request(prompt=PROMPT, max_new_tokens=12)])[0].ids


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_linear_layer_multiplies_as_before(family: str) -> None:
    model = tiny(family)
    generator = torch.Generator().manual_seed(0)
    packed = PackedLinears(model, 2**30)
    assert len(packed.modules) == sum(
        type(m) in (nn.Linear, type(packed.modules[0])) for m in model.modules()
    )
    inside = Step(torch.zeros(1, 1), torch.zeros(1), torch.zeros(1), 1)
    for module in packed.modules:
        width = module.in_features if isinstance(module, nn.Linear) else module.nx
        read = torch.randn((3, 5, width), generator=generator)
        with torch.inference_mode():
            expected = module(read)
            with packed.lent(), at(inside):
                found = module(read)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not any("forward" in vars(module) for module in model.modules())


def test_outside_of_steps_a_lent_layer_has_gradients() -> None:
    model = tiny("llama")
    packed = PackedLinears(model, 2**30)
    with packed.lent():
        for module in packed.modules:
            module(torch.ones(1, module.in_features)).sum().backward()
    assert all(module.weight.grad is not None for module in packed.modules)


def test_memory_bounds_what_is_packed(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny("llama")
    size = PackedLinears(model, 2**30)
    size.pack()
    assert size.nbytes > 0
    with caplog.at_level("INFO"):
        assert not PackedLinears(model, size.nbytes - 1).modules
    assert "stay unpacked" in caplog.text
    assert PackedLinears(model, size.nbytes).modules
    assert not PackedLinears(model, 0).modules
    assert not PackedLinears(model.to(torch.bfloat16), 2**30).modules


@pytest.mark.parametrize("how", ["written to", "replaced", "by an optimizer"])
def test_an_engine_follows_weights_that_change(how: str) -> None:
    model: Any = tiny("llama")
    with Engine(model, Ids(), slots=2, block=8) as engine:
        before = answer(engine)
        weight = model.model.layers[0].mlp.down_proj.weight
        if how == "written to":
            with torch.no_grad():
                weight.mul_(-3)
        elif how == "replaced":
            model.model.layers[0].mlp.down_proj.weight = nn.Parameter(weight.detach() * -3)
        else:
            model.lm_head.weight.grad = torch.randn(model.lm_head.weight.shape)
            torch.optim.SGD(model.parameters(), lr=0.3).step()
        found = answer(engine)
    assert found != before
    assert found == by_transformers(model)
