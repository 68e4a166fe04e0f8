"""How well a model does on rows that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from hanji.contracts.batch import Batch
from hanji.contracts.labels import Labels
from hanji.contracts.loss import Loss
from hanji.contracts.protocols import Objective, Policy
from hanji.contracts.rows import TokenRows
from hanji.evaluation.row_scores import pair_scores, row_scores


def held_out_scores(
    policy: Policy, objective: Objective, batches: Iterator[TokenRows], device: torch.device | str
) -> dict[str, float]:
    """The objective's mean loss over all rows of `batches`, its metrics, and what follows from them.

    Returns:
        `loss`, the mean over the objective's units, and its metrics by their names. Of likelihoods:
        `perplexity`, `tokens`, and of decoders `bits_per_byte`, all bits over the UTF-8 bytes of the trained
        text, which compares models of different tokenizers. Of labels and pairs: the figures of `row_scores`
        and `pair_scores`, `rows`. Empty where there was nothing to score.
    """
    sums, text_bytes = _Sums(), 0
    with evaluating(cast("nn.Module", policy)):
        for rows in batches:
            batch = objective.collate(rows)
            sums.add(objective.loss(policy, batch.to(device)), objective.counts(batch), batch)
            text_bytes += int(rows.text_bytes.sum())
    scores = sums.means()
    if not scores:
        return {}
    if (nats := sums.totals.get("nll")) is not None:
        per_token = nats / sums.counts["tokens"]
        scores["perplexity"] = math.exp(min(per_token, 700))  # beyond lies the end of float64
        scores["tokens"] = sums.counts["tokens"]
        if text_bytes:
            scores["bits_per_byte"] = nats / math.log(2) / text_bytes
    return scores | sums.of_rows(getattr(objective, "labels", None))


class _Sums:
    """What is added up over batches."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.counts: dict[str, float] = {}
        self._units: dict[str, str] = {}
        self._weights: dict[str, float] = {}
        self._observed: dict[str, list[Tensor]] = {}
        self._rows = 0

    def add(self, loss: Loss, counts: dict[str, float], batch: Batch) -> None:
        for unit, count in counts.items():
            self.counts[unit] = self.counts.get(unit, 0.0) + count
        for name, term in loss.terms.items():
            if name != "auxiliary":  # of training, not of what is predicted
                self._add(name, float(term.total), term.unit)
                self._weights[name] = term.weight
        for name, (total, unit) in loss.metrics.items():
            self._add(f"metric {name}", total, unit)
        for name, values in loss.observed.items():
            self._observed.setdefault(name, []).append(values.cpu())
        self._rows += batch.rows

    def _add(self, name: str, total: float, unit: str) -> None:
        self.totals[name] = self.totals.get(name, 0.0) + total
        self._units[name] = unit

    def means(self) -> dict[str, float]:
        """The loss and the metrics; empty where a unit never came."""
        means = {
            name: total / self.counts[self._units[name]]
            for name, total in self.totals.items()
            if self.counts[self._units[name]]
        }
        if not set(self._weights) & set(means):
            return {}
        loss = sum(weight * means[name] for name, weight in self._weights.items() if name in means)
        metrics = {name.removeprefix("metric "): m for name, m in means.items() if name.startswith("metric ")}
        return {"loss": loss, **metrics}

    def of_rows(self, labels: Labels | None) -> dict[str, float]:
        """Scores that are no means."""
        observed = {name: torch.cat(parts).float().numpy() for name, parts in self._observed.items()}
        found: dict[str, float] = {}
        if "correct" in observed:
            found = pair_scores(observed["correct"])
        elif "scores" in observed and labels is not None:
            found = row_scores(labels.kind, observed["scores"], observed["targets"])
        return found | ({"rows": float(self._rows)} if found else {})


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Dropout off and no gradients inside; each submodule's own mode comes back afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training
