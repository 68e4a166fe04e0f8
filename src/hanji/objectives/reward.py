"""A reward model: learns to score answers as people's choices between them say."""

from __future__ import annotations

import torch.nn.functional as F

from hanji.contracts.batch import Batch
from hanji.contracts.errors import ConfigError
from hanji.contracts.labels import Labels
from hanji.contracts.loss import Loss, Term
from hanji.contracts.protocols import Head, Policy
from hanji.objectives.answer_pairs import CHOSEN, REJECTED, AnswerPairs


class Reward(AnswerPairs):
    """Mean over pairs of −log σ(r(chosen) − r(rejected) − margin), after Bradley and Terry (1952), as in
    Ouyang et al. 2022; the margin of a pair, where its data has one, as in Llama 2 (Touvron et al. 2023).

    Args:
        centering: weight of (r(chosen) + r(rejected))², which keeps rewards around zero (Eisenstein et al.
            2023).
        margin_weight: what the margins of the data are multiplied with; 0 leaves them out.
    """

    name = "reward"
    head: Head = "classification"
    reference = False
    labels = Labels("number", ("reward",))
    """A reward is one number."""

    def __init__(self, centering: float = 0.01, margin_weight: float = 1.0) -> None:
        if centering < 0 or margin_weight < 0:
            raise ConfigError(
                "weights are negative", value=(centering, margin_weight), expected="0 or more each"
            )
        self.centering, self.margin_weight = centering, margin_weight

    def loss(self, policy: Policy, batch: Batch) -> Loss:
        """See the class; accuracy is the share of pairs that are ranked as people did."""
        assert batch.targets is not None
        rewards = policy.document_scores(batch)[:, 0].view(-1, 2)
        chosen, rejected = rewards[:, CHOSEN], rewards[:, REJECTED]
        difference = chosen - rejected
        each = -F.logsigmoid(difference - self.margin_weight * batch.targets[:, 0])
        terms = {"loss": Term(each.sum(), "pairs")}
        if self.centering:
            terms["centering"] = Term((chosen + rejected).square().sum(), "pairs", self.centering)
        metrics = {
            "accuracy": (float((difference > 0).sum()), "pairs"),
            "reward_chosen": (float(chosen.detach().sum()), "pairs"),
            "reward_rejected": (float(rejected.detach().sum()), "pairs"),
        }
        return Loss(terms, metrics, {"correct": (difference > 0).detach()})
