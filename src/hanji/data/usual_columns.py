"""What the columns of labelled data are usually called, so that well-known sets need no `columns`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

PAIRS: Final = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"))
TEXTS: Final = ("document", "sentence")
LABELS: Final = ("gold_label", "labels")
PAIR_LABELS: Final = (*LABELS, "score")
"""A score beside a pair says how alike they are; beside a text it may be anything."""


def usual_columns(fields: Collection[str], *, pair: bool) -> dict[str, str]:
    """Our field to their column, for what a labelled row lacks and only one column here can be.

    Args:
        fields: the columns that are there; those called as ours stay what they are.
        pair: whether two texts are sought.
    """
    found: dict[str, str] = {}
    if "text" not in fields:
        pairs = [both for both in PAIRS if all(name in fields for name in both)]
        texts = [name for name in TEXTS if name in fields]
        if pair and len(pairs) == 1:
            found |= dict(zip(("text", "text_pair"), pairs[0], strict=True))
        elif not pair and not pairs and len(texts) == 1:
            found["text"] = texts[0]
    if "label" not in fields:
        labels = [name for name in (PAIR_LABELS if pair else LABELS) if name in fields]
        if len(labels) == 1:
            found["label"] = labels[0]
    return found
