"""Whatever path a policy takes, loss and gradients are those of the plain model on each document alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hanji.contracts.batch import Batch
from hanji.contracts.rows import TokenRows
from hanji.models.policies import CausalPolicy
from tiny_models import FAMILIES, VOCABULARY, tiny

PACKED = {"llama", "gpt2", "qwen3", "mistral", "gemma3_text", "granite", "cohere", "mixtral"}
OWN_HEAD = {"llama", "gpt2", "qwen3", "mistral", "gemma3_text", "falcon", "mamba"}


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def advance(self, phase: str, done: float, total: float | None = None, **figures: float) -> None: ...

    def note(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def batch() -> Batch:
    random = np.random.default_rng(0)
    lengths = np.array([9, 30, 3, 17])
    tokens = int(lengths.sum())
    ids = random.integers(1, VOCABULARY, tokens).astype(np.int32)
    return Batch.causal(TokenRows(ids, lengths, random.random(tokens) > 0.4, lengths))


def reference(model: Any, batch: Batch) -> torch.Tensor:
    """[labelled positions] −log p by the model's own forward pass, one document at a time."""
    losses = []
    for ids, labels in zip(
        batch.input_ids.split(list(batch.lengths)), batch.labels.split(list(batch.lengths)), strict=True
    ):
        logits = model(input_ids=ids[None], use_cache=False).logits[0].float()
        losses.append(F.cross_entropy(logits, labels, reduction="none")[labels != -100])
    return torch.cat(losses)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_equal_each_document_alone(family: str, batch: Batch) -> None:
    plain = tiny(family)
    expected = reference(plain, batch)
    expected.sum().backward()
    policy = CausalPolicy(tiny(family), pad_id=0).eval()
    found = policy.negative_log_likelihood(batch)
    found["nll"].backward()
    assert found["nll"].item() == pytest.approx(expected.sum().item(), rel=1e-6)
    for (name, mine), theirs in zip(policy.model.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is None or not theirs.grad.any():
            continue
        assert mine.grad is not None, name
        difference = (mine.grad - theirs.grad).norm() / theirs.grad.norm()
        assert difference < 2e-5, f"{name}: {difference:.1e}"


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_of_each_token(family: str, batch: Batch) -> None:
    expected = -reference(tiny(family), batch).detach()
    found = CausalPolicy(tiny(family), pad_id=0).eval().token_log_probabilities(batch).detach()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fast_path_is_taken_where_it_is_right_and_the_log_says_so_where_not(family: str) -> None:
    notes = Notes()
    policy = CausalPolicy(tiny(family), pad_id=0, progress=notes)
    assert bool(policy.packed_up_to) == (family in PACKED)
    assert policy.own_head == (family in OWN_HEAD)
    assert any("padded, not packed" in line for line in notes.lines) == (family not in PACKED)


def test_experts_bring_their_load_balancing_loss(batch: Batch) -> None:
    model = tiny("mixtral")
    labels = batch.labels.clone()
    found = CausalPolicy(model, pad_id=0).eval().negative_log_likelihood(batch)
    own = model(
        input_ids=batch.input_ids[None], position_ids=batch.position_ids()[None],
        output_router_logits=True, use_cache=False,
    )  # fmt: skip
    weight = model.config.router_aux_loss_coef * int((labels != -100).sum())
    assert weight > 0
    assert found["auxiliary"].item() == pytest.approx(own.aux_loss.item() * weight, rel=0.05)


def test_documents_longer_than_a_wide_window_are_padded() -> None:
    model = tiny("mistral")
    model.config.sliding_window = 600
    for layer in model.model.layers:
        layer.self_attn.sliding_window = 600
    assert CausalPolicy(model, pad_id=0).packed_up_to == 600


def test_layers_are_the_blocks_and_not_the_experts() -> None:
    assert len(CausalPolicy(tiny("mixtral"), pad_id=0).layers()) == 2
    assert len(CausalPolicy(tiny("gpt2"), pad_id=0).layers()) == 2


def test_a_part_without_labels_gives_no_loss_and_zero_gradients() -> None:
    rows = TokenRows(np.arange(1, 6, dtype=np.int32), np.array([5]), np.zeros(5, np.bool_), np.array([0]))
    policy = CausalPolicy(tiny("llama"), pad_id=0)
    found = policy.negative_log_likelihood(Batch.causal(rows))
    found["nll"].backward()
    assert found["nll"].item() == 0
    assert all(p.grad is None or not p.grad.any() for p in policy.parameters())
