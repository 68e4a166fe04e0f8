"""Bottleneck adapters: small feed-forward layers in every block, learned while the rest stands still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from hanji.contracts.protocols import Encoder
from hanji.methods.attached import Attached, AttachingMethod
from hanji.methods.bottleneck import BottleneckConfig

Placement = Literal["houlsby", "pfeiffer", "parallel"]


class Adapter(AttachingMethod):
    """Bottleneck adapters: h + scaling · W_up f(W_down h) on what a part of a block gives; they start as
    nothing.

    Saved as a PEFT adapter directory, which plain PEFT loads after `import hanji`. They cannot be merged:
    what stands between the two matrices is no product.

    Args:
        placement: `houlsby`: after attention and after feed-forward (Houlsby et al. 2019); `pfeiffer`: after
            feed-forward (Pfeiffer et al. 2021); `parallel`: beside feed-forward (He et al. 2022).
        reduction_factor: the bottleneck is this many times narrower than the model.
        activation: f, by transformers' name.
        scaling: see above.
        dropout: of the bottleneck's units.
        targets: ends of names of the modules whose output is adapted, instead of those found.

    Raises:
        ConfigError: an option out of its range.
    """

    name = "adapter"
    merges = False

    def __init__(
        self,
        placement: Placement = "houlsby",
        reduction_factor: float = 16,
        activation: str = "gelu",
        scaling: float = 1.0,
        dropout: float = 0.0,
        targets: list[str] | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {
            "placement": placement, "reduction_factor": reduction_factor, "activation": activation,
            "scaling": scaling, "dropout": dropout, "target_modules": targets,
        }  # fmt: skip
        BottleneckConfig(**self._settings)  # refuses what is out of range

    def apply(
        self, model: nn.Module, *, new: Sequence[str] = (), encoder: Encoder | None = None
    ) -> nn.Module:
        """See `contracts.Method`."""
        self._attached = Attached(model, BottleneckConfig(**self._settings), new)
        return self._attached.model
