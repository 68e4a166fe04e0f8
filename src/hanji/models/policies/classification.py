"""A classifier: scores of a whole document, read at its first token (encoders) or its last (decoders)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from hanji.contracts.batch import Batch
from hanji.models.own_head import head_alone, pooled
from hanji.models.policies.policy import ModelPolicy, Wanted


class ClassificationPolicy(ModelPolicy):
    """A `...ForSequenceClassification`. The model's own head runs on one position of each document."""

    def compute(self, batch: Batch, wanted: Wanted) -> dict[str, Tensor]:
        """See `ModelPolicy`; a classifier has scores only."""
        assert wanted == "scores", "a classifier has no likelihood of tokens"
        scores = self.at_head(self.hidden_states(batch), batch) if self.own_head else self.whole(batch)
        return {"scores": scores.float()}

    def whole(self, batch: Batch) -> Tensor:
        """[documents, outputs]"""
        with self.padded():
            return self.run(self.model, batch).logits  # type: ignore[no-any-return]

    def at_head(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[documents, outputs]"""
        at = batch.firsts() if self.encodes else batch.lasts()
        read = hidden[at]
        # one token for each document, none of them padding
        alone = replace(batch, input_ids=batch.input_ids[at], lengths=(1,) * len(batch.lengths))
        with head_alone(self.model, read[:, None], pooled(self.model, read)) as model:
            return model(input_ids=alone.input_ids[:, None]).logits  # type: ignore[no-any-return]
