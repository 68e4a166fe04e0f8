"""What scikit-learn 1.9.1 and SciPy 1.17.1 say of seeded labels and scores: our independent reference.

The numbers are kept in `reference_row_scores.json`. They are made anew in an environment of its own:

    python -m venv reference && reference/bin/pip install scikit-learn==1.9.1 scipy==1.17.1
    reference/bin/python tests/evaluation/reference_row_scores.py > tests/evaluation/reference_row_scores.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

Data = tuple[str, Any, Any]
"""The kind of label, the scores [rows, outputs], and the targets [rows, 1 or outputs]."""


def cases() -> dict[str, Data]:
    """Data that no version of NumPy draws otherwise."""
    random = np.random.RandomState(7)
    right = random.randint(0, 5, 300)
    said = np.where(random.random_sample(300) < 0.6, right, random.randint(0, 5, 300))
    skewed = np.where(random.random_sample(400) < 0.93, 0, 1)
    guessed = np.where(random.random_sample(400) < 0.9, skewed, 1 - skewed)
    numbers = random.standard_normal(250)
    steps = random.randint(0, 6, 200)
    return {
        "five classes": ("classes", _scores(said, 5, random), right[:, None]),
        "two uneven classes": ("classes", _scores(guessed, 2, random), skewed[:, None]),
        "a class that nobody has": ("classes", _scores(said % 3, 6, random), (right % 3)[:, None]),
        "a class that is only said": ("classes", _scores(said, 5, random), np.minimum(right, 3)[:, None]),
        "always the same answer": ("classes", _scores(np.zeros(300, int), 5, random), right[:, None]),
        "several": ("several", random.standard_normal((150, 4)), random.randint(0, 2, (150, 4))),
        "several, one never": (
            "several", random.standard_normal((150, 3)) - [0, 0, 9],
            random.randint(0, 2, (150, 3)) * [1, 1, 0],
        ),
        "numbers": ("number", (0.7 * numbers + random.standard_normal(250))[:, None], numbers[:, None]),
        "numbers with ties": ("number", (steps + random.randint(-1, 2, 200))[:, None] * 0.5, steps[:, None]),
        "numbers the other way": ("number", (-(numbers**3))[:, None], numbers[:, None]),
    }  # fmt: skip


def _scores(said: Any, classes: int, random: Any) -> Any:
    """Scores of which that of the class that is said is the highest."""
    scores = random.random_sample((len(said), classes))
    scores[np.arange(len(said)), said] += 1
    return scores


def _computed(kind: str, scores: Any, targets: Any) -> dict[str, float]:
    from scipy import stats
    from sklearn import metrics

    if kind == "number":
        said, right = scores[:, 0], targets[:, 0]
        return {
            "pearson": float(stats.pearsonr(said, right).statistic),
            "spearman": float(stats.spearmanr(said, right).statistic),
            "mean_squared_error": float(metrics.mean_squared_error(right, said)),
        }
    said, right = (scores > 0, targets > 0) if kind == "several" else (scores.argmax(1), targets[:, 0])
    found = {
        "accuracy": float(metrics.accuracy_score(right, said)),
        "macro_f1": float(metrics.f1_score(right, said, average="macro", zero_division=0)),
    }
    if kind == "classes":
        found["matthews"] = float(metrics.matthews_corrcoef(right, said))
    return found


if __name__ == "__main__":
    made = {name: _computed(*data) for name, data in cases().items()}
    sys.stdout.write(json.dumps(made, indent=2) + "\n")
