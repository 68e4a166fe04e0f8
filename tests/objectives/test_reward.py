"""The reward model's loss: by hand in float64, and as TRL computes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hanji.contracts.batch import IGNORED, Batch
from hanji.contracts.errors import ConfigError
from hanji.models.policies import policy_for
from hanji.objectives.reward import Reward
from objectives.preference_pairs import reward_model, token_rows

TRL = json.loads((Path(__file__).parent / "reference_trl.json").read_text("utf-8"))["reward"]


class Said(nn.Module):
    """A policy with a reward of its own for each document."""

    def __init__(self, documents: int) -> None:
        super().__init__()
        self.rewards = nn.Parameter(3 * torch.randn(documents, 1, generator=torch.Generator().manual_seed(4)))

    def document_scores(self, batch: Batch) -> Tensor:
        return self.rewards[batch.input_ids[batch.firsts()]]


MARGINS = [0.0, 1.0, 0.25, 0.0, 3.0]


def pairs() -> Batch:
    """Five pairs of documents, each of which begins with its own number."""
    ids = torch.tensor([index for document in range(10) for index in [document] + [7] * (document % 3)])
    lengths = tuple(1 + document % 3 for document in range(10))
    targets = torch.tensor([[margin] for margin in MARGINS])
    return Batch(ids, torch.full_like(ids, IGNORED), lengths, targets=targets, documents_per_row=2)


@pytest.mark.parametrize(("centering", "margin_weight"), [(0.0, 0.0), (0.0, 1.0), (0.01, 1.0), (0.5, 0.3)])
def test_bradley_and_terry_with_margins_and_centring(centering: float, margin_weight: float) -> None:
    objective, policy, batch = Reward(centering, margin_weight), Said(10), pairs()
    loss = objective.loss(policy, batch)  # type: ignore[arg-type]
    mean = loss.normalised(objective.counts(batch))
    mean.backward()
    exact = policy.rewards.detach().double().requires_grad_()
    chosen, rejected = exact[::2, 0], exact[1::2, 0]
    odds = (chosen - rejected - margin_weight * torch.tensor(MARGINS)).exp()
    expected = -(odds / (1 + odds)).log().mean() + centering * ((chosen + rejected) ** 2).mean()
    expected.backward()
    assert mean.item() == pytest.approx(expected.item(), rel=1e-6)
    assert exact.grad is not None
    torch.testing.assert_close(policy.rewards.grad, exact.grad.float(), rtol=1e-5, atol=1e-7)
    better = chosen > rejected
    assert loss.metrics["accuracy"] == (float(better.sum()), "pairs")
    assert loss.metrics["reward_chosen"][0] == pytest.approx(chosen.sum().item(), rel=1e-6)
    assert loss.metrics["reward_rejected"][0] == pytest.approx(rejected.sum().item(), rel=1e-6)
    assert torch.equal(loss.observed["correct"], better)


def test_the_loss_does_not_depend_on_micro_batches() -> None:
    objective, batch = Reward(0.1), pairs()
    counts = objective.counts(batch)
    found = []
    for size in (1000, 7, 1):
        policy = Said(10)
        parts = [objective.loss(policy, part).normalised(counts) for part in batch.split(size)]  # type: ignore[arg-type]
        torch.stack(parts).sum().backward()
        found.append((sum(map(Tensor.item, parts)), policy.rewards.grad))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("options", [{"centering": -0.1}, {"margin_weight": -1.0}])
def test_negative_weights_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="negative"):
        Reward(**options)


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("plain", {"centering": 0.0, "margin_weight": 0.0}),
        ("centred", {"centering": 0.01, "margin_weight": 0.0}),
        ("centred, with margins", {"centering": 0.01, "margin_weight": 1.0}),
    ],
)
def test_as_trl(case: str, options: dict[str, Any]) -> None:
    """`reference_trl.py` tells how its numbers were made."""
    objective = Reward(**options)
    policy = policy_for("classification", reward_model(), pad_id=0).eval()
    batch = objective.collate(token_rows())
    loss = objective.loss(policy, batch).normalised(objective.counts(batch))
    loss.backward()
    assert loss.item() == pytest.approx(TRL[case]["loss"], rel=1e-5)
    assert policy.model.score.weight.grad.norm().item() == pytest.approx(TRL[case]["gradient"], rel=1e-5)
