"""A loss as named sums with their units, so that its mean does not depend on how a batch was cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of a loss.

    Attributes:
        total: [] the sum over this part's units, with its graph.
        unit: what is averaged over: `tokens`, `rows`, `pairs`; a key of the batch's counts.
        weight: factor of this term in the whole loss.
    """

    total: Tensor
    unit: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Loss:
    """The terms of one part of a batch, and what else was seen.

    Attributes:
        metrics: name → sum and unit.
        observed: name → a value for each row, [rows, ...], for scores that are no means (correlations, F1).
    """

    terms: Mapping[str, Term]
    metrics: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    observed: Mapping[str, Tensor] = field(default_factory=dict)

    def normalised(self, counts: Mapping[str, float]) -> Tensor:
        """[] this part's share of the mean loss; `counts` are of the whole batch: all parts, all ranks."""
        shares = [term.weight * term.total / (counts[term.unit] or 1) for term in self.terms.values()]
        return torch.stack(shares).sum()
