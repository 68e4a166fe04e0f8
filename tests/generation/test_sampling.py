"""Choices of tokens, held against transformers' processors of logits."""

from typing import Any

import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from hanji.contracts.errors import ConfigError
from hanji.generation.sampling import Row, Sampling, choose

LOGITS = torch.randn(1, 50, generator=torch.Generator().manual_seed(0)) * 2


def frequencies(sampling: dict[str, Any], draws: int = 20_000) -> torch.Tensor:
    rows = [Row(Sampling(**sampling, seed=seed), [], []) for seed in range(draws)]
    return torch.bincount(torch.tensor(choose(LOGITS.expand(draws, -1), rows)), minlength=50) / draws


@pytest.mark.parametrize(
    ("sampling", "warpers"),
    [
        ({"temperature": 1.0}, []),
        ({"temperature": 0.6}, [TemperatureLogitsWarper(0.6)]),
        ({"temperature": 1.5, "top_k": 7}, [TemperatureLogitsWarper(1.5), TopKLogitsWarper(7)]),
        ({"temperature": 1.2, "top_p": 0.7}, [TemperatureLogitsWarper(1.2), TopPLogitsWarper(0.7)]),
        ({"temperature": 1.0, "min_p": 0.1}, [MinPLogitsWarper(0.1)]),
        ({"temperature": 1.0, "top_k": 9, "top_p": 0.8}, [TopKLogitsWarper(9), TopPLogitsWarper(0.8)]),
    ],
)
def test_draws_follow_the_warped_probabilities(sampling: dict[str, Any], warpers: list[Any]) -> None:
    warped = LOGITS
    for warper in warpers:
        warped = warper(None, warped)
    expected = warped.softmax(-1)[0]
    found = frequencies(sampling)
    assert set(found.nonzero()[:, 0].tolist()) <= set(expected.nonzero()[:, 0].tolist())
    assert (found - expected).abs().max() < 0.012


def test_the_repetition_penalty_is_that_of_transformers() -> None:
    order = LOGITS[0].argsort(descending=True).tolist()
    prompt, answer = order[:1], [order[-1], order[2]]  # what would be chosen stands there already
    penalised = RepetitionPenaltyLogitsProcessor(3.0)(torch.tensor([prompt + answer]), LOGITS.clone())
    row = Row(Sampling(repetition_penalty=3.0), prompt, answer)
    assert choose(LOGITS, [row]) == penalised.argmax(-1).tolist() != LOGITS.argmax(-1).tolist()


def test_penalties_count_the_answer_alone() -> None:
    best, second, *_ = LOGITS[0].argsort(descending=True).tolist()
    logits = LOGITS.clone()
    logits[0, best] = logits[0, second] + 1.5
    often = Sampling(frequency_penalty=1.0)
    assert choose(logits, [Row(often, [best] * 5, [])]) == [best]
    assert choose(logits, [Row(often, [], [best])]) == [best]
    assert choose(logits, [Row(often, [], [best, best])]) == [second]
    once = Sampling(presence_penalty=1.6)
    assert choose(logits, [Row(once, [best] * 5, [])]) == [best]
    assert choose(logits, [Row(once, [], [best])]) == [second]


def test_bias_and_constraint_change_what_may_come() -> None:
    best, *_, worst = LOGITS[0].argsort(descending=True).tolist()
    rows = [
        Row(Sampling(logit_bias={worst: 100.0}), [], []),
        Row(Sampling(logit_bias={best: -100.0}), [], []),
        Row(Sampling(temperature=1.0), [], [], torch.arange(50) == worst),
        Row(Sampling(), [], []),
    ]
    before = LOGITS.clone()
    first, second, third, fourth = choose(LOGITS.expand(4, -1), rows)
    assert (first, third, fourth) == (worst, worst, best)
    assert second != best
    assert torch.equal(before, LOGITS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -0.1), ("temperature", float("nan")), ("top_p", 0.0), ("top_k", -1), ("min_p", 1.5),
     ("repetition_penalty", 0.0), ("presence_penalty", 2.1), ("frequency_penalty", -3.0)],
)  # fmt: skip
def test_settings_out_of_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        Sampling(**{name: value})
