"""A decoder: the next token of every position."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hanji.contracts.batch import IGNORED, Batch
from hanji.models.cross_entropy import log_probabilities, summed_cross_entropy
from hanji.models.policies.policy import ModelPolicy, Wanted


class CausalPolicy(ModelPolicy):
    """A `...ForCausalLM`. The head and its cross-entropy run in chunks, at labelled positions."""

    def __init__(self, model: Any, **options: Any) -> None:
        super().__init__(model, **options)
        self.own_head = self.own_head and not self.auxiliary_weight

    def compute(self, batch: Batch, wanted: Wanted) -> dict[str, Tensor]:
        """See `ModelPolicy`; a causal model has no scores of documents."""
        assert wanted != "scores", "a causal model has no classification head"
        at = batch.labels != IGNORED
        labels, auxiliary = batch.labels[at], self.auxiliary_weight
        if self.own_head:
            head = self.model.get_output_embeddings()
            hidden = self.hidden_states(batch)[at]
            if wanted == "log_probabilities":
                return {"log_probabilities": log_probabilities(hidden, head.weight, _bias(head), labels)}
            nll, correct = summed_cross_entropy(hidden, head.weight, _bias(head), labels)
            return {"nll": nll, "correct": correct}
        output, logits = self._with_model_head(batch, at)
        if wanted == "log_probabilities":
            return {"log_probabilities": -F.cross_entropy(logits, labels, reduction="none")}
        result = {
            "nll": F.cross_entropy(logits, labels, reduction="sum"),
            "correct": (logits.argmax(-1) == labels).sum(),
        }
        if auxiliary:
            result["auxiliary"] = output.aux_loss * auxiliary * len(labels)
        return result

    @property
    def auxiliary_weight(self) -> float:
        """Weight of the load-balancing loss of a mixture of experts; 0 for a dense model."""
        return float(getattr(self.model.config, "router_aux_loss_coef", 0.0) or 0.0)

    def whole(self, batch: Batch) -> Tensor:
        """[tokens, vocabulary]"""
        return self.flat(self.run(self.model, batch).logits, batch)

    def at_head(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[tokens, vocabulary]"""
        head = self.model.get_output_embeddings()
        if not isinstance(head, torch.nn.Linear):
            raise TypeError(f"it is a {type(head).__name__}")
        return F.linear(hidden, head.weight, _bias(head))

    def _with_model_head(self, batch: Batch, at: Tensor) -> tuple[Any, Tensor]:
        """The model's output, and its logits at labelled positions."""
        options: dict[str, Any] = {"output_router_logits": True} if self.auxiliary_weight else {}
        if self.packs(batch):
            output = self.run(self.model, batch, logits_to_keep=at.nonzero()[:, 0], **options)
            return output, output.logits[0].float()
        output = self.run(self.model, batch, **options)
        return output, self.flat(output.logits, batch)[at].float()


def _bias(head: Any) -> Tensor | None:
    return getattr(head, "bias", None)
