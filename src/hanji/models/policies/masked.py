"""An encoder under masked pre-training: hidden tokens, and how the two texts of a document stand together."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hanji.contracts.batch import IGNORED, Batch
from hanji.models.cross_entropy import summed_cross_entropy
from hanji.models.heads import RELATION_HEADS
from hanji.models.own_head import head_alone, pooled
from hanji.models.policies.policy import ModelPolicy, Wanted


class MaskedPolicy(ModelPolicy):
    """A `...ForMaskedLM`, or a `...ForPreTraining` that also has a relation of two texts.

    The model's own head runs at masked positions, and its pooler at each document's first token, which in a
    packed sequence the stock forward does for the first document only.
    """

    def compute(self, batch: Batch, wanted: Wanted) -> dict[str, Tensor]:
        """See `ModelPolicy`; an encoder under pre-training has likelihoods of hidden tokens only."""
        assert wanted == "likelihood", "a masked model has no other output"
        at = batch.labels != IGNORED
        labels = batch.labels[at]
        if not self.own_head:
            output, logits = self._whole(batch)
            logits = logits[at].float()
            relation = self._relation(output)
            found = {
                "nll": F.cross_entropy(logits, labels, reduction="sum"),
                "correct": (logits.argmax(-1) == labels).sum(),
            }
        else:
            features, relation = self._head(self.hidden_states(batch), batch, at)
            matrix = self.model.get_output_embeddings()
            nll, correct = summed_cross_entropy(features, matrix.weight, matrix.bias, labels)
            found = {"nll": nll, "correct": correct}
        return found if relation is None else found | {"relation": relation}

    def whole(self, batch: Batch) -> Tensor:
        """Logits of all tokens, then the relation of each document, end to end."""
        output, logits = self._whole(batch)
        return _end_to_end(logits, self._relation(output))

    def at_head(self, hidden: Tensor, batch: Batch) -> Tensor:
        """As `whole`."""
        matrix = self.model.get_output_embeddings()
        if not isinstance(matrix, torch.nn.Linear):
            raise TypeError(f"it is a {type(matrix).__name__}")
        features, relation = self._head(hidden, batch, torch.ones_like(batch.labels, dtype=torch.bool))
        return _end_to_end(F.linear(features, matrix.weight, matrix.bias), relation)

    def _head(self, hidden: Tensor, batch: Batch, at: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the output matrix is multiplied with at chosen positions, and each document's relation."""
        first = pooled(self.model, hidden[batch.firsts()])
        with head_alone(self.model, hidden[at][None], first, without_matrix=True) as model:
            output = model(input_ids=batch.input_ids[at][None])
        return self._logits(output)[0], self._relation(output)

    def _whole(self, batch: Batch) -> tuple[Any, Tensor]:
        related = type(self.model).__name__.endswith("ForPreTraining")
        with self.padded() if related else nullcontext():
            output = self.run(self.model, batch)
            return output, self.flat(self._logits(output), batch)

    def _logits(self, output: Any) -> Tensor:
        logits = getattr(output, "logits", None)
        return output.prediction_logits if logits is None else logits  # type: ignore[no-any-return]

    def _relation(self, output: Any) -> Tensor | None:
        name = RELATION_HEADS.get(self.model.config.model_type)
        return None if name is None else getattr(output, name, None)


def _end_to_end(logits: Tensor, relation: Tensor | None) -> Tensor:
    return logits if relation is None else torch.cat([logits.flatten(), relation.flatten()])
