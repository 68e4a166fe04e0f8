"""The head alone, on hidden states computed before: the model's own numbers, and the model left as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hanji.models.own_head import head_alone, pooled
from tiny_models import ENCODERS, VOCABULARY, tiny

IDS = torch.randint(3, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(1))


def body_states(model: Any) -> torch.Tensor:
    return model.base_model(input_ids=IDS).last_hidden_state


@pytest.mark.parametrize("family", ENCODERS)
def test_the_masked_head_is_the_models_own(family: str) -> None:
    model = tiny(family, "masked")
    with torch.no_grad():
        expected, hidden = model(input_ids=IDS).logits, body_states(model)
        with head_alone(model, hidden, None) as alone:
            torch.testing.assert_close(alone(input_ids=IDS[:, :1]).logits, expected, rtol=1e-6, atol=1e-6)
        matrix = model.get_output_embeddings()
        with head_alone(model, hidden, None, without_matrix=True) as alone:
            before = alone(input_ids=IDS).logits
        again = torch.nn.functional.linear(before, matrix.weight, matrix.bias)
        torch.testing.assert_close(again, expected, rtol=1e-5, atol=1e-5)
        assert before.shape[-1] == matrix.weight.shape[1]


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_the_pooler_and_the_relation_of_two_texts(family: str) -> None:
    model = tiny(family, "pretraining")
    name = "sop_logits" if family == "albert" else "seq_relationship_logits"
    with torch.no_grad():
        expected = getattr(model(input_ids=IDS), name)
        hidden = body_states(model)
        first = pooled(model, hidden[:, 0])
        assert first is not None
        with head_alone(model, hidden, first) as alone:
            torch.testing.assert_close(getattr(alone(input_ids=IDS), name), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "albert", "roberta", "distilbert", "electra", "llama", "gpt2"])
def test_the_classifier_on_one_position(family: str) -> None:
    model = tiny(family, "classification")
    at = 0 if family in ENCODERS else -1
    with torch.no_grad():
        expected, hidden = model(input_ids=IDS).logits, body_states(model)
        read = hidden[:, at]
        with head_alone(model, read[:, None], pooled(model, read)) as alone:
            found = alone(input_ids=IDS[:, at][:, None]).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_model_without_a_pooler_has_none() -> None:
    assert pooled(tiny("llama", "classification"), torch.zeros(2, 32)) is None
    assert pooled(tiny("distilbert", "classification"), torch.zeros(2, 32)) is None


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails: bool) -> None:
    model = tiny("bert", "masked")
    body, names = model.base_model, [name for name, _ in model.named_parameters()]
    modules = list(model._modules)
    with torch.no_grad():
        expected = model(input_ids=IDS).logits
        try:
            with head_alone(model, torch.zeros(1, 2, 32), None, without_matrix=True):
                if fails:
                    raise KeyError("on the way")
        except KeyError:
            assert fails
        assert torch.equal(model(input_ids=IDS).logits, expected)
    assert model.base_model is body and list(model._modules) == modules
    assert [name for name, _ in model.named_parameters()] == names
    assert "forward" not in vars(model.get_output_embeddings())


def test_gradients_reach_the_head_and_the_states() -> None:
    model = tiny("bert", "masked")
    hidden = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with head_alone(model, hidden, None) as alone:
        alone(input_ids=IDS[:1, :3]).logits.square().sum().backward()
    assert hidden.grad is not None and hidden.grad.any()
    assert model.cls.predictions.transform.dense.weight.grad is not None
    assert model.bert.encoder.layer[0].attention.self.query.weight.grad is None
