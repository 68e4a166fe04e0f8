"""Classification and regression: a label for a text, or for a pair of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hanji.contracts.batch import IGNORED, Batch
from hanji.contracts.errors import ConfigError, DataError, nearest
from hanji.contracts.labels import Labels
from hanji.contracts.loss import Loss, Term
from hanji.contracts.protocols import Encoder, Head, Policy, Task
from hanji.contracts.rows import TokenRows
from hanji.objectives.framing import frame_texts, segments


class Classification:
    """Mean loss over rows: cross-entropy of one class, binary cross-entropy of several, squared error of a
    number. Encoders are read at the first token, decoders at the last; the ids are the tokenizer's own.

    Args:
        class_weights: how much a row of each class counts, by name; `balanced` is n / (classes × n of the
            class), so that rare classes count as much as common ones; None: every row alike. Of one class a
            row only.
    """

    name = "classify"
    rows = "labelled"
    head: Head = "classification"
    overlong: tuple[str, ...] = ("drop", "truncate", "error")
    reference = False

    def __init__(self, class_weights: str | dict[str, float] | None = None) -> None:
        if isinstance(class_weights, str) and class_weights != "balanced":
            raise ConfigError("unknown class_weights", value=class_weights, expected="balanced, or a mapping")
        self.class_weights = class_weights

    def bind(self, task: Task) -> None:
        """Needs labels."""
        if task.labels is None:
            raise DataError("classify needs labelled rows", expected="data whose rows have a label")
        self.labels, self.has_segments = task.labels, task.encoder.frame.has_segments
        self.weights = torch.tensor(self._weights(task.labels), dtype=torch.float32)

    def encode(self, rows: Sequence[Mapping[str, Any]], encoder: Encoder) -> TokenRows:
        """Each text, with the one that belongs to it, as the tokenizer frames them; the label as target."""
        framed = frame_texts(encoder, [row["text"] for row in rows], [row.get("text_pair") for row in rows])
        targets = [self.labels.targets(row["label"], str(row.get("id") or "label")) for row in rows]
        return replace(framed, trained=np.zeros_like(framed.trained), targets=np.array(targets, np.float64))

    def collate(self, rows: TokenRows) -> Batch:
        """No token is trained; each row has its target."""
        assert rows.targets is not None
        ids = torch.from_numpy(rows.ids.astype(np.int64))
        paired = self.has_segments and rows.borders is not None and rows.borders.any()
        second = torch.from_numpy(segments(rows)) if paired else None
        targets = torch.from_numpy(rows.targets.astype(np.float32))
        return Batch(ids, torch.full_like(ids, IGNORED), tuple(rows.lengths.tolist()), second, targets)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Rows, and what they weigh."""
        return {"rows": float(batch.rows), "weight": float(self._row_weights(batch).sum())}

    def prepare(self, policy: Policy, batch: Batch) -> Iterable[Batch]:
        """The batch as it is."""
        return (batch,)

    def loss(self, policy: Policy, batch: Batch) -> Loss:
        """The weighted sum over rows; accuracy beside it, and what each row was given."""
        assert batch.targets is not None
        scores, targets = policy.document_scores(batch), batch.targets
        each = _each(self.labels, scores, targets)
        weights = self._row_weights(batch)
        metrics = {}
        if self.labels.kind != "number":
            metrics["accuracy"] = (float(_correct(self.labels, scores, targets).sum()), "rows")
        observed = {"scores": scores.detach(), "targets": targets}
        return Loss({"loss": Term((each * weights).sum(), "weight")}, metrics, observed)

    def _row_weights(self, batch: Batch) -> Tensor:
        assert batch.targets is not None
        if self.labels.kind != "classes":
            return torch.ones_like(batch.targets[:, 0])
        return self.weights.to(batch.targets.device)[batch.targets[:, 0].long()]

    def _weights(self, labels: Labels) -> list[float]:
        if self.class_weights is None or labels.kind != "classes":
            if self.class_weights is not None:
                raise ConfigError(
                    "class_weights need rows of one class each", value=labels.kind, expected="classes"
                )
            return [1.0] * labels.outputs
        if isinstance(self.class_weights, str):
            total = sum(labels.counts.values())
            return [total / (len(labels.names) * max(labels.counts.get(name, 0), 1)) for name in labels.names]
        for name in self.class_weights:
            if name not in labels.names:
                near = nearest(name, labels.names)
                raise ConfigError(
                    "class_weights name a class that no row has",
                    value=name,
                    expected=", ".join(labels.names),
                    hint=f"did you mean {near}?" if near else None,
                )
        return [float(self.class_weights.get(name, 1.0)) for name in labels.names]


def _each(labels: Labels, scores: Tensor, targets: Tensor) -> Tensor:
    """[rows] the loss of each row; scores: [rows, outputs], targets: [rows, 1 or outputs]."""
    if labels.kind == "classes":
        return F.cross_entropy(scores, targets[:, 0].long(), reduction="none")
    if labels.kind == "several":
        return F.binary_cross_entropy_with_logits(scores, targets, reduction="none").mean(-1)
    return (scores[:, 0] - targets[:, 0]).square()


def _correct(labels: Labels, scores: Tensor, targets: Tensor) -> Tensor:
    """[rows] whether the row got its class, or all of its classes and no other."""
    if labels.kind == "classes":
        return scores.argmax(-1) == targets[:, 0]
    return ((scores > 0) == (targets > 0.5)).all(-1)
