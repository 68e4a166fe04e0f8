"""The model under training: the fast path where it is proven equal, the plain one where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hanji.contracts.batch import IGNORED, Batch
from hanji.contracts.progress import Progress, Silent
from hanji.models import probe
from hanji.models.attention import Documents, packed_masks
from hanji.models.head import summed_cross_entropy


class CausalPolicy(nn.Module):
    """A transformers decoder that scores batches of documents.

    At construction two probes run on a few random ids: packed against each document alone, and our chunked
    head against the model's own logits. A path that differs is not taken, and `progress` is told.

    Args:
        model: a `...ForCausalLM`.
        pad_id: an id for padding, where documents must be padded; never seen by the loss.
        precision: the dtype of autocast (`torch.bfloat16` on CUDA), or None for the weights' own.
        progress: who is told which path was taken.

    Attributes:
        packed_up_to: documents up to this many tokens run packed (a model with a wide sliding window is
            proven only below it); 0 where the packed path is wrong for this architecture.
        own_head: whether the chunked head serves this model.
    """

    def __init__(
        self,
        model: Any,
        *,
        pad_id: int,
        precision: torch.dtype | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.pad_id = pad_id
        self.precision = precision
        self.auxiliary_weight = _auxiliary_weight(model.config)
        found = probe.probe(model, pad_id)
        self.packed_up_to = found.packed_up_to
        self.own_head = found.own_head and not self.auxiliary_weight
        for sentence in found.explanations:
            (progress or Silent()).note(sentence)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    def layers(self) -> list[nn.Module]:
        """The transformer blocks, first to last: what FSDP shards and freezing counts."""
        lists = [
            (name, m) for name, m in self.model.named_modules() if isinstance(m, nn.ModuleList) and len(m)
        ]
        outermost = min(lists, key=lambda named: (named[0].count("."), -len(named[1])), default=("", ()))
        return list(outermost[1])

    def negative_log_likelihood(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `contracts.Policy`."""
        return self(batch)  # type: ignore[no-any-return]

    def token_log_probabilities(self, batch: Batch) -> Tensor:
        """See `contracts.Policy`."""
        return self(batch, each=True)["log_probabilities"]  # type: ignore[no-any-return]

    def forward(self, batch: Batch, each: bool = False) -> dict[str, Tensor]:
        """All that needs weights happens here, so that the hooks of FSDP see it."""
        autocast = torch.autocast(self.device.type, self.precision) if self.precision else nullcontext()
        with autocast:
            if each or not self.own_head:
                return self._with_model_head(batch, each)
            hidden = self._run(self.model.base_model, batch).last_hidden_state
            at = batch.labels != IGNORED
            head = self.model.get_output_embeddings()
            nll, correct = summed_cross_entropy(
                self._flat(hidden, batch)[at], head.weight, getattr(head, "bias", None), batch.labels[at]
            )
            return {"nll": nll, "correct": correct}

    def _with_model_head(self, batch: Batch, each: bool) -> dict[str, Tensor]:
        at = batch.labels != IGNORED
        wanted = batch.labels[at]
        options: dict[str, Any] = {"output_router_logits": True} if self.auxiliary_weight else {}
        if self._packs(batch):
            positions = at.nonzero()[:, 0]
            output = self._run(self.model, batch, logits_to_keep=positions, **options)
            logits = output.logits[0]
        else:
            output = self._run(self.model, batch, **options)
            logits = self._flat(output.logits, batch)[at]
        logits = logits.float()
        if each:
            return {"log_probabilities": -F.cross_entropy(logits, wanted, reduction="none")}
        result = {
            "nll": F.cross_entropy(logits, wanted, reduction="sum"),
            "correct": (logits.argmax(-1) == wanted).sum(),
        }
        if self.auxiliary_weight:
            result["auxiliary"] = output.aux_loss * self.auxiliary_weight * len(wanted)
        return result

    def _packs(self, batch: Batch) -> bool:
        return max(batch.lengths) <= self.packed_up_to

    def _run(self, module: Any, batch: Batch, **options: Any) -> Any:
        if not self._packs(batch):
            ids, mask = batch.padded(self.pad_id)
            return module(input_ids=ids, attention_mask=mask.long(), use_cache=False, **options)
        documents = Documents(batch.lengths, batch.input_ids.device)
        with packed_masks():
            return module(
                input_ids=batch.input_ids[None], position_ids=batch.position_ids()[None],
                documents=documents, use_cache=False, **options,
            )  # fmt: skip

    def _flat(self, states: Tensor, batch: Batch) -> Tensor:
        """[rows, longest, ...] or [1, tokens, ...] → [tokens, ...], in the order of the batch."""
        if self._packs(batch):
            return states[0]
        return states[batch.padded(self.pad_id)[1]]


def _auxiliary_weight(config: Any) -> float:
    """Weight of the load-balancing loss of a mixture of experts; 0 for a dense model."""
    return float(getattr(config, "router_aux_loss_coef", 0.0) or 0.0)
