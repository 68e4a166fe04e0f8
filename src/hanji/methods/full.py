"""Every parameter learns."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hanji.contracts.protocols import Encoder


class Full:
    """Full training or fine-tuning: the model as it is, all of it trained."""

    name = "full"
    adds = False
    merges = False

    def apply(
        self, model: nn.Module, *, new: Sequence[str] = (), encoder: Encoder | None = None
    ) -> nn.Module:
        """Sets every parameter to learn."""
        return model.requires_grad_(True)
