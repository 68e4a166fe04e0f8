"""Whatever path an encoder or a classifier takes, its output is the plain model's on each document alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hanji.contracts.batch import IGNORED, Batch
from hanji.models.policies import policy_for
from tiny_models import ENCODERS, VOCABULARY, tiny

PADDED = {"deberta-v2", "mpnet"}
LENGTHS = (9, 30, 3, 17, 17, 4)


def make_batch(*, segments: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(1)
    tokens = sum(LENGTHS)
    ids = torch.randint(3, VOCABULARY, (tokens,), generator=generator)
    labels = torch.where(torch.rand(tokens, generator=generator) < 0.3, ids, IGNORED)
    second = torch.cat([(torch.arange(length) > length // 2).long() for length in LENGTHS])
    return Batch(ids, labels, LENGTHS, second if segments else None)


def alone(model: Any, batch: Batch) -> list[Any]:
    """The model's own output for each document."""
    parts = zip(
        batch.input_ids.split(LENGTHS),
        (batch.segments if batch.segments is not None else torch.zeros_like(batch.input_ids)).split(LENGTHS),
        strict=True,
    )
    with_types = int(getattr(model.config, "type_vocab_size", 0) or 0) > 1
    return [
        model(input_ids=ids[None], **({"token_type_ids": types[None]} if with_types else {}))
        for ids, types in parts
    ]


def same_gradients(mine: Any, theirs: Any) -> None:
    compared = 0
    for (name, parameter), other in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        if other.grad is None or not other.grad.any():
            continue
        assert parameter.grad is not None, name
        scale = max(float(other.grad.norm()), 1e-4)  # a key's bias has a gradient of rounding errors only
        assert float((parameter.grad - other.grad).norm()) / scale < 5e-5, name
        compared += 1
    assert compared > 10


@pytest.mark.parametrize("family", ENCODERS)
def test_masked_tokens(family: str) -> None:
    plain, batch = tiny(family, "masked"), make_batch()
    logits = torch.cat([output.logits[0] for output in alone(plain, batch)])
    expected = F.cross_entropy(logits, batch.labels, reduction="sum")
    expected.backward()
    policy = policy_for("masked", tiny(family, "masked"), pad_id=plain.config.pad_token_id).eval()
    assert bool(policy.packed_up_to) == (family not in PADDED)
    found = policy.negative_log_likelihood(batch)
    found["nll"].backward()
    assert found["nll"].item() == pytest.approx(expected.item(), rel=2e-6)
    at = batch.labels != IGNORED
    assert int(found["correct"]) == int((logits.argmax(-1)[at] == batch.labels[at]).sum())
    same_gradients(policy.model, plain)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_masked_tokens_and_the_relation_of_two_texts(family: str) -> None:
    plain, batch = tiny(family, "pretraining"), make_batch()
    outputs = alone(plain, batch)
    name = "sop_logits" if family == "albert" else "seq_relationship_logits"
    relation = torch.cat([getattr(output, name) for output in outputs])
    logits = torch.cat([output.prediction_logits[0] for output in outputs])
    (F.cross_entropy(logits, batch.labels, reduction="sum") + relation.square().sum()).backward()
    policy = policy_for("pretraining", tiny(family, "pretraining"), pad_id=0).eval()
    assert policy.packed_up_to and policy.own_head
    found = policy.negative_log_likelihood(batch)
    torch.testing.assert_close(found["relation"], relation, rtol=1e-5, atol=1e-6)
    (found["nll"] + found["relation"].square().sum()).backward()
    same_gradients(policy.model, plain)


@pytest.mark.parametrize("family", [*ENCODERS, "llama", "gpt2", "qwen3", "mistral", "gemma2"])
def test_scores_of_documents(family: str) -> None:
    plain, batch = tiny(family, "classification"), make_batch()
    pad_id = plain.config.pad_token_id
    expected = torch.cat([output.logits for output in alone(plain, batch)])
    expected.square().sum().backward()
    policy = policy_for("classification", tiny(family, "classification"), pad_id=pad_id).eval()
    assert bool(policy.packed_up_to) == (family not in PADDED | {"gemma2"})
    found = policy.document_scores(batch)
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-6)
    found.square().sum().backward()
    same_gradients(policy.model, plain)


def test_padded_and_packed_give_the_same() -> None:
    batch = make_batch()
    policy = policy_for("pretraining", tiny("bert", "pretraining"), pad_id=0).eval()
    packed = policy.negative_log_likelihood(batch)
    policy.packed_up_to = 0
    padded = policy.negative_log_likelihood(batch)
    policy.own_head = False
    whole = policy.negative_log_likelihood(batch)
    for name in ("nll", "relation"):
        torch.testing.assert_close(padded[name], packed[name], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(whole[name], packed[name], rtol=1e-5, atol=1e-6)
