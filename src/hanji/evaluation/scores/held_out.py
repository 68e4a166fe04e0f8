"""Loss, perplexity, bits per byte and accuracy on held-out rows."""

from __future__ import annotations

from hanji.evaluation.held_out import held_out_scores
from hanji.evaluation.subject import Subject


def score(subject: Subject) -> dict[str, float]:
    """The figures of `held_out_scores`."""
    if subject.held_out is None or subject.objective is None:
        return {}
    return held_out_scores(subject.policy, subject.objective, subject.held_out(), subject.device)
