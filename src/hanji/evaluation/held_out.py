"""How well a model does on rows that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hanji.contracts.batch import Batch
from hanji.contracts.labels import Labels
from hanji.contracts.loss import Loss
from hanji.contracts.modes import evaluating
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
    sums = Sums()
    with evaluating(cast("nn.Module", policy)):
        for rows in batches:
            sums.score(policy, objective, rows, device)
    return sums.scores(getattr(objective, "labels", None))


class Sums:
    """What is added up over batches.

    Attributes:
        totals: name of a term or a metric → its sum. `counts`: unit → how many.
        text_bytes: of the trained text.
    """

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.counts: dict[str, float] = {}
        self.text_bytes = 0.0
        self._units: dict[str, str] = {}
        self._weights: dict[str, float] = {}
        self._observed: dict[str, list[Tensor]] = {}
        self._rows = 0

    def score(
        self, policy: Policy, objective: Objective, rows: TokenRows, device: torch.device | str
    ) -> None:
        """Adds one batch; `policy` is as `evaluating` makes it."""
        batch = objective.collate(rows)
        self._add_batch(objective.loss(policy, batch.to(device)), objective.counts(batch), batch)
        self.text_bytes += int(rows.text_bytes.sum())

    def like(self, totals: Mapping[str, float], counts: Mapping[str, float], text_bytes: float) -> Sums:
        """The same terms and metrics with other sums, as of rows drawn again."""
        other = Sums()
        other.totals, other.counts, other.text_bytes = dict(totals), dict(counts), text_bytes
        other._units, other._weights = self._units, self._weights
        return other

    def scores(self, labels: Labels | None = None) -> dict[str, float]:
        """What `held_out_scores` returns."""
        scores = self._means()
        if not scores:
            return {}
        if (nats := self.totals.get("nll")) is not None and self.counts["tokens"]:
            per_token = nats / self.counts["tokens"]
            scores["perplexity"] = math.exp(min(per_token, 700))  # beyond lies the end of float64
            scores["tokens"] = self.counts["tokens"]
            if self.text_bytes:
                scores["bits_per_byte"] = nats / math.log(2) / self.text_bytes
        return scores | self._of_rows(labels)

    def observed(self) -> dict[str, NDArray[np.float32]]:
        """Name → [rows, ...] what was seen of each row."""
        return {name: torch.cat(parts).float().numpy() for name, parts in self._observed.items()}

    def _add_batch(self, loss: Loss, counts: dict[str, float], batch: Batch) -> None:
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

    def _means(self) -> dict[str, float]:
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

    def _of_rows(self, labels: Labels | None) -> dict[str, float]:
        """Scores that are no means."""
        observed = self.observed()
        found: dict[str, float] = {}
        if "correct" in observed:
            found = pair_scores(observed["correct"])
        elif "scores" in observed and labels is not None:
            found = row_scores(labels.kind, observed["scores"], observed["targets"])
        return found | ({"rows": float(self._rows)} if found else {})
