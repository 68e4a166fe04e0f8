"""Direct preference optimisation: people's choices move the model itself, without a reward model."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from hanji.contracts.batch import IGNORED, Batch
from hanji.contracts.errors import ConfigError
from hanji.contracts.loss import Loss, Term
from hanji.contracts.protocols import Head, Policy
from hanji.objectives.answer_pairs import CHOSEN, REJECTED, AnswerPairs

Variant = Literal["sigmoid", "ipo", "hinge"]


class DirectPreferenceOptimisation(AnswerPairs):
    """Mean loss over pairs of how much more than the reference the model prefers the chosen answer.

    With h = log(π(chosen)/π_ref(chosen)) − log(π(rejected)/π_ref(rejected)):
    `sigmoid`: −(1 − s) log σ(βh) − s log σ(−βh), Rafailov et al. 2023, label smoothing s (Mitchell 2023);
    `ipo`: (h − 1/(2β))², with log-probabilities per token, Azar et al. 2024;
    `hinge`: max(0, 1 − βh), Zhao et al. 2023.

    Args:
        beta: how strongly the model is held to the reference; larger is stronger.
        loss: the variant.
        label_smoothing: the share of pairs that are taken to be labelled wrongly; of `sigmoid`.
    """

    name = "dpo"
    head: Head = "causal"
    reference = True

    def __init__(self, beta: float = 0.1, loss: Variant = "sigmoid", label_smoothing: float = 0.0) -> None:
        if beta <= 0:
            raise ConfigError("beta must be above 0", value=beta)
        if loss not in get_args(Variant):
            raise ConfigError("unknown loss of dpo", value=loss, expected=", ".join(get_args(Variant)))
        if not 0 <= label_smoothing < 0.5:
            raise ConfigError("label_smoothing is out of range", value=label_smoothing, expected="0 to 0.5")
        if label_smoothing and loss != "sigmoid":
            raise ConfigError("label_smoothing belongs to loss: sigmoid", value=loss)
        self.beta, self.variant, self.label_smoothing = beta, loss, label_smoothing

    def reference_values(self, policy: Policy, batch: Batch) -> Tensor:
        """[pairs, 2] log-probabilities of both answers."""
        with torch.no_grad():
            return self._answers(policy, batch)

    def loss(self, policy: Policy, batch: Batch) -> Loss:
        """See the class; a reward is β log(π/π_ref), accuracy the share of pairs that it ranks right."""
        assert batch.targets is not None
        if batch.targets.shape[1] > 2:
            reference = batch.targets[:, -2:]
        else:
            with policy.switched_off():
                reference = self.reference_values(policy, batch)
        ratios = self._answers(policy, batch) - reference
        difference = ratios[:, CHOSEN] - ratios[:, REJECTED]
        rewards = self.beta * ratios.detach()
        better = rewards[:, CHOSEN] > rewards[:, REJECTED]
        metrics = {
            "accuracy": (float(better.sum()), "pairs"),
            "reward_chosen": (float(rewards[:, CHOSEN].sum()), "pairs"),
            "reward_rejected": (float(rewards[:, REJECTED].sum()), "pairs"),
        }
        return Loss({"loss": Term(self._each(difference).sum(), "pairs")}, metrics, {"correct": better})

    def _each(self, difference: Tensor) -> Tensor:
        """[pairs] the loss of each."""
        if self.variant == "ipo":
            return (difference - 1 / (2 * self.beta)).square()
        if self.variant == "hinge":
            return F.relu(1 - self.beta * difference)
        smoothing, scaled = self.label_smoothing, self.beta * difference
        return -(1 - smoothing) * F.logsigmoid(scaled) - smoothing * F.logsigmoid(-scaled)

    def _answers(self, policy: Policy, batch: Batch) -> Tensor:
        """[pairs, 2] summed log-probabilities of the answers; means where the variant is of tokens."""
        each = policy.token_log_probabilities(batch)
        lengths = torch.tensor(batch.lengths, device=each.device)
        document = torch.repeat_interleave(torch.arange(len(lengths), device=each.device), lengths)
        document = document[batch.labels != IGNORED]
        sums = each.new_zeros(len(lengths)).index_add(0, document, each)
        if self.variant == "ipo":
            sums = sums / torch.bincount(document, minlength=len(lengths)).clamp_min(1)
        return sums.view(-1, 2)
