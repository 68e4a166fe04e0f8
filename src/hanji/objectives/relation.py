"""The loss of telling how two texts stand to each other."""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor

UNKNOWN: Final = -100
"""The label of a row of a single text."""


def relation_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy, and how many were right, over the rows that have a label.

    Args:
        logits: [documents, 2]. labels: [documents] 0 as they stood, 1 otherwise, or UNKNOWN.
    """
    total = F.cross_entropy(logits.float(), labels, reduction="sum", ignore_index=UNKNOWN)
    return total, ((logits.argmax(-1) == labels) & (labels != UNKNOWN)).sum()
