"""What is measured on a model. A new score is one file here and one line below.

A score is a function from a `Subject` to named figures; an empty mapping where it does not apply.
"""

from __future__ import annotations

from hanji.contracts.registry import Registry
from hanji.evaluation.subject import Subject

SCORES = Registry(
    "scores",
    {
        "held_out": "hanji.evaluation.scores.held_out:score",
        "bigram": "hanji.evaluation.scores.bigram:score",
        "endings": "hanji.evaluation.scores.endings:score",
    },
)


def measure(subject: Subject) -> dict[str, dict[str, float]]:
    """Every registered score that applies to `subject`: name → figures."""
    found = {name: SCORES.load(name)(subject) for name in SCORES}
    return {name: figures for name, figures in found.items() if figures}
