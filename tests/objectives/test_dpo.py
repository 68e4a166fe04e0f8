"""Direct preference optimisation: by hand in float64 from plain models, and as TRL computes it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hanji.contracts.batch import Batch
from hanji.contracts.errors import ConfigError
from hanji.models.policies import policy_for
from hanji.objectives.dpo import DirectPreferenceOptimisation
from objectives.preference_pairs import (
    CHOSEN,
    PROMPTS,
    REJECTED,
    policy_model,
    reference_model,
    token_rows,
)

TRL = json.loads((Path(__file__).parent / "reference_trl.json").read_text("utf-8"))["dpo"]


def made(**options: Any) -> tuple[DirectPreferenceOptimisation, Any, Batch]:
    """The objective, the policy, and the batch with what the reference says of it."""
    objective = DirectPreferenceOptimisation(**options)
    policy = policy_for("causal", policy_model(), pad_id=0).eval()
    rows = token_rows()
    values = objective.reference_values(
        policy_for("causal", reference_model(), pad_id=0).eval(), objective.collate(rows)
    )
    assert values.shape == (2, 2) and not values.requires_grad
    targets = np.concatenate([rows.targets, values.numpy().astype(np.float64)], axis=1)
    return objective, policy, objective.collate(replace(rows, targets=targets))


def mean_loss(objective: DirectPreferenceOptimisation, policy: Any, batch: Batch) -> Tensor:
    return objective.loss(policy, batch).normalised(objective.counts(batch))


@cache
def by_hand() -> list[list[tuple[float, float, int]]]:
    """Of each pair, of both answers: log-probability by the policy, by the reference, and tokens; float64."""
    models = [policy_model().double().eval(), reference_model().double().eval()]

    def log_probability(model: Any, prompt: list[int], answer: list[int]) -> float:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + answer])).logits[0]
        said = logits.log_softmax(-1)
        return sum(said[len(prompt) + at - 1, token].item() for at, token in enumerate(answer))

    return [
        [(*(log_probability(model, prompt, answer) for model in models), len(answer)) for answer in answers]
        for prompt, *answers in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
    ]


def _log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value))


@pytest.mark.parametrize("beta", [0.1, 0.7])
@pytest.mark.parametrize(
    ("loss", "smoothing"),
    [("sigmoid", 0.0), ("sigmoid", 0.1), ("sigmoid", 0.4), ("ipo", 0.0), ("hinge", 0.0)],
)
def test_the_formulas(loss: Any, smoothing: float, beta: float) -> None:
    each = []
    for chosen, rejected in by_hand():
        per_token = loss == "ipo"
        a, b = ((own - other) / (tokens if per_token else 1) for own, other, tokens in (chosen, rejected))
        if loss == "sigmoid":
            each.append(
                -(1 - smoothing) * _log_sigmoid(beta * (a - b)) - smoothing * _log_sigmoid(-beta * (a - b))
            )
        else:
            each.append((a - b - 1 / (2 * beta)) ** 2 if per_token else max(0.0, 1 - beta * (a - b)))
    found = mean_loss(*made(beta=beta, loss=loss, label_smoothing=smoothing))
    assert found.item() == pytest.approx(sum(each) / 2, rel=2e-6)


def test_rewards_and_accuracy() -> None:
    objective, policy, batch = made(beta=0.3)
    metrics = objective.loss(policy, batch)
    rewards = [[0.3 * (own - other) for own, other, _ in pair] for pair in by_hand()]
    better = [chosen > rejected for chosen, rejected in rewards]
    assert metrics.metrics["accuracy"] == (float(sum(better)), "pairs")
    assert metrics.metrics["reward_chosen"][0] == pytest.approx(sum(pair[0] for pair in rewards), rel=1e-5)
    assert metrics.metrics["reward_rejected"][0] == pytest.approx(sum(pair[1] for pair in rewards), rel=1e-5)
    assert metrics.observed["correct"].tolist() == better


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "hinge"])
def test_a_method_switched_off_is_the_reference(loss: Any) -> None:
    """Where the model can be what it was before training, nothing need be computed in advance."""
    objective, policy, batch = made(loss=loss)
    before, now = reference_model(), policy.model
    entered = []

    @contextmanager
    def switch_off() -> Iterator[None]:
        entered.append(True)
        policy.model = before
        yield
        policy.model = now

    policy._switch_off = switch_off
    with_margins_only = replace(batch, targets=batch.targets[:, :1])
    on_the_spot = mean_loss(objective, policy, with_margins_only)
    on_the_spot.backward()
    gradient = now.get_output_embeddings().weight.grad.clone()
    assert entered == [True] and before.get_output_embeddings().weight.grad is None
    policy.zero_grad()
    in_advance = mean_loss(objective, policy, batch)
    in_advance.backward()
    assert entered == [True]
    assert on_the_spot.item() == pytest.approx(in_advance.item(), rel=1e-6)
    torch.testing.assert_close(now.get_output_embeddings().weight.grad, gradient, rtol=1e-5, atol=1e-8)


def test_an_unchanged_model_loses_log_two() -> None:
    objective, _, batch = made()
    policy = policy_for("causal", reference_model(), pad_id=0).eval()
    assert mean_loss(objective, policy, batch).item() == pytest.approx(math.log(2), rel=1e-5)


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_the_loss_does_not_depend_on_micro_batches(loss: Any) -> None:
    objective, policy, batch = made(loss=loss)
    counts = objective.counts(batch)
    found = []
    for size in (1000, 1):
        policy.zero_grad()
        parts = [objective.loss(policy, part).normalised(counts) for part in batch.split(size)]
        torch.stack(parts).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in policy.parameters()])
        found.append((len(parts), sum(map(Tensor.item, parts)), gradient))
    (one, whole, gradient), (two, apart, other) = found
    assert (one, two) == (1, 2)
    assert apart == pytest.approx(whole, rel=1e-6)
    assert float((other - gradient).norm() / gradient.norm()) < 1e-5


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "hinge"])
def test_as_trl(loss: Any) -> None:
    """`reference_trl.py` tells how its numbers were made."""
    objective, policy, batch = made(loss=loss)
    found = mean_loss(objective, policy, batch)
    found.backward()
    assert found.item() == pytest.approx(TRL[loss]["loss"], rel=1e-5)
    gradient = policy.model.get_output_embeddings().weight.grad.norm().item()
    assert gradient == pytest.approx(TRL[loss]["gradient"], rel=1e-5)


@pytest.mark.parametrize(("case", "index"), [("first", 0), ("second", 1)])
def test_label_smoothing_as_trl(case: str, index: int) -> None:
    objective, policy, batch = made(label_smoothing=0.1)
    part = list(batch.split(1))[index]
    found = mean_loss(objective, policy, part)
    found.backward()
    expected = TRL[f"smoothed, {case} pair"]
    assert found.item() == pytest.approx(expected["loss"], rel=1e-5)
    gradient = policy.model.get_output_embeddings().weight.grad.norm().item()
    assert gradient == pytest.approx(expected["gradient"], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "above 0"),
        ({"loss": "square"}, "sigmoid, ipo, hinge"),
        ({"label_smoothing": 0.5}, "out of range"),
        ({"label_smoothing": -0.1}, "out of range"),
        ({"label_smoothing": 0.1, "loss": "ipo"}, "belongs to loss: sigmoid"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DirectPreferenceOptimisation(**options)
