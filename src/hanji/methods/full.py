"""Every parameter learns."""

from __future__ import annotations

from torch import nn


class Full:
    """Full training or fine-tuning: the model as it is, all of it trained."""

    name = "full"

    def apply(self, model: nn.Module) -> nn.Module:
        """Sets every parameter to learn."""
        return model.requires_grad_(True)
