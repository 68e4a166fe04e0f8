"""The model under training: the fast path where it is proven equal, the plain one where it is not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hanji.contracts.batch import Batch
from hanji.contracts.blocks import block_list
from hanji.contracts.progress import Progress, Silent
from hanji.models import probe
from hanji.models.attention import Documents, packed_masks
from hanji.models.heads import is_encoder

Wanted = Literal["likelihood", "log_probabilities", "scores"]
"""What `forward` is asked for: a method of `contracts.Policy` each."""


class ModelPolicy(nn.Module, ABC):
    """A transformers model that scores batches of documents.

    At construction two probes run on a few random ids: packed against each document alone, and the head at
    chosen positions against the model's own output. A path that differs is not taken, and `progress` is told.

    Where the input embedding has `virtual_ids` (a soft prompt), every document begins with them.

    Args:
        model: a transformers model with a head.
        pad_id: an id for padding, where documents must be padded; never seen by the loss.
        precision: the dtype of autocast (`torch.bfloat16` on CUDA), or None for the weights' own.
        progress: who is told which path was taken.
        switch_off: the model without its method, inside; None where that cannot be.

    Attributes:
        packed_up_to: documents up to this many tokens run packed (a model with a wide sliding window is
            proven only below it); 0 where the packed path is wrong for this architecture.
        own_head: whether the head runs at chosen positions only, apart from the body.
        position_offset: the number of a document's first position (RoBERTa begins after its padding's).
    """

    def __init__(
        self,
        model: Any,
        *,
        pad_id: int,
        precision: torch.dtype | None = None,
        progress: Progress | None = None,
        switch_off: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.pad_id = pad_id
        self.precision = precision
        self.encodes = is_encoder(model.config)
        self._switch_off = switch_off
        self.packed_up_to, self.own_head, self.position_offset = 0, False, 0
        found = probe.probe(self)
        self.packed_up_to, self.own_head = found.packed_up_to, found.own_head
        self.position_offset = found.position_offset
        for sentence in found.explanations:
            (progress or Silent()).note(sentence)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    def layers(self) -> list[nn.Module]:
        """The transformer blocks, first to last: what FSDP shards and freezing counts."""
        return list(block_list(self.model)[1])

    def negative_log_likelihood(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `contracts.Policy`."""
        return self(batch, "likelihood")  # type: ignore[no-any-return]

    def token_log_probabilities(self, batch: Batch) -> Tensor:
        """See `contracts.Policy`."""
        return self(batch, "log_probabilities")["log_probabilities"]  # type: ignore[no-any-return]

    def document_scores(self, batch: Batch) -> Tensor:
        """See `contracts.Policy`."""
        return self(batch, "scores")["scores"]  # type: ignore[no-any-return]

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """See `contracts.Policy`; without dropout inside."""
        assert self._switch_off is not None, "the method cannot be switched off"
        was_training = self.training
        self.eval()
        try:
            with self._switch_off():
                yield
        finally:
            self.train(was_training)

    def forward(self, batch: Batch, wanted: Wanted) -> dict[str, Tensor]:
        """All that needs weights happens here, so that the hooks of FSDP see it."""
        autocast = torch.autocast(self.device.type, self.precision) if self.precision else nullcontext()
        with autocast:
            return self.compute(self.complete(batch), wanted)

    def complete(self, batch: Batch) -> Batch:
        """The batch with the model's soft prompt, where it has one; second texts are then not marked, as in
        PEFT."""
        virtual = getattr(self.model.get_input_embeddings(), "virtual_ids", ())
        return replace(batch.beginning_with(virtual), segments=None) if virtual else batch

    @abstractmethod
    def compute(self, batch: Batch, wanted: Wanted) -> dict[str, Tensor]:
        """What was asked for, of documents that are complete."""

    @abstractmethod
    def whole(self, batch: Batch) -> Tensor:
        """The model's own output in one piece, [anything, ...], to compare with and to fall back on."""

    @abstractmethod
    def at_head(self, hidden: Tensor, batch: Batch) -> Tensor:
        """`whole` again, from the body's hidden states, [tokens, hidden_size]."""

    @contextmanager
    def padded(self) -> Iterator[None]:
        """No document runs packed, inside: a stock forward takes what is packed for one document, which
        matters where it tells something of each."""
        packed_up_to, self.packed_up_to = self.packed_up_to, 0
        try:
            yield
        finally:
            self.packed_up_to = packed_up_to

    def packs(self, batch: Batch) -> bool:
        """Whether these documents run packed."""
        return max(batch.lengths) <= self.packed_up_to

    def hidden_states(self, batch: Batch) -> Tensor:
        """[tokens, hidden_size] the body's last hidden states, in the order of the batch."""
        return self.flat(self.run(self.model.base_model, batch).last_hidden_state, batch)

    def run(self, module: Any, batch: Batch, **options: Any) -> Any:
        """The model or its body over the documents: packed, or as padded rows."""
        if not self.encodes:
            options["use_cache"] = False
        if not self.packs(batch):
            ids, mask = batch.padded(self.pad_id)
            if batch.segments is not None and _has_segments(self.model.config):
                options["token_type_ids"] = replace(batch, input_ids=batch.segments).padded(0)[0]
            return module(input_ids=ids, attention_mask=mask.long(), **options)
        if _has_segments(self.model.config):
            segments = torch.zeros_like(batch.input_ids) if batch.segments is None else batch.segments
            options["token_type_ids"] = segments[None]
        documents = Documents(batch.lengths, batch.input_ids.device)
        with packed_masks():
            return module(
                input_ids=batch.input_ids[None],
                position_ids=batch.position_ids()[None] + self.position_offset,
                documents=documents,
                **options,
            )

    def flat(self, states: Tensor, batch: Batch) -> Tensor:
        """[rows, longest, ...] or [1, tokens, ...] → [tokens, ...], in the order of the batch."""
        if self.packs(batch):
            return states[0]
        return states[batch.padded(self.pad_id)[1]]


def _has_segments(config: Any) -> bool:
    return int(getattr(config, "type_vocab_size", 0) or 0) > 1
