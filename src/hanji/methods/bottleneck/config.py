"""What a bottleneck adapter is, as PEFT keeps it in `adapter_config.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from peft import PeftConfig
from transformers.activations import ACT2FN

from hanji.contracts.errors import ConfigError, nearest
from hanji.methods.bottleneck.peft_type import bottleneck_type

Placement = Literal["houlsby", "pfeiffer", "parallel"]


@dataclass
class BottleneckConfig(PeftConfig):  # type: ignore[misc]
    """Options of bottleneck adapters; `layer.py` has the formula.

    Args:
        placement: `houlsby`, after attention's output projection and after the feed-forward's, each before
            the residual addition (Houlsby et al. 2019, https://arxiv.org/abs/1902.00751); `pfeiffer`, after
            the feed-forward's only (Pfeiffer et al. 2020, https://arxiv.org/abs/2005.00247, without their
            second pass through the block's own norm); `parallel`, beside the feed-forward: reads what it
            reads, adds to what it gives (He et al. 2022, https://arxiv.org/abs/2110.04366).
        reduction_factor: the bottleneck is hidden size // this wide; at least 1.
        activation: between the two projections, by a name that transformers knows.
        scaling: factor of what the adapter adds; He et al. use 4 for `parallel`.
        dropout: probability of dropping a unit of the bottleneck.
        target_modules: names of the projections to adapt instead of those that `placement` finds: whole
            names, or ends of names as PEFT takes them; one that matches nothing is refused. Saved are the
            whole names.
        layers_to_transform: numbers of the blocks to adapt; all where not given.
        modules_to_save: modules that are trained whole and saved with the adapter, as a new head, or the
            norms that Houlsby et al. train too.
    """

    placement: Placement = "houlsby"
    reduction_factor: float = 16
    activation: str = "gelu"
    scaling: float = 1.0
    dropout: float = 0.0
    target_modules: Sequence[str] | None = None
    layers_to_transform: Sequence[int] | None = None
    modules_to_save: list[str] | None = None

    def __post_init__(self) -> None:
        """Refuses values that no model can serve.

        Raises:
            ConfigError: says which field, and what is allowed.
        """
        super().__post_init__()
        self.peft_type = bottleneck_type()
        _check(self.placement in get_args(Placement), "placement", self.placement, get_args(Placement))
        _check(self.activation in ACT2FN, "activation", self.activation, tuple(ACT2FN))
        reduces = _is_number(self.reduction_factor) and self.reduction_factor >= 1
        _check(reduces, "reduction_factor", self.reduction_factor, "a number of at least 1")
        _check(_is_number(self.scaling), "scaling", self.scaling, "a finite number")
        drops = _is_number(self.dropout) and 0 <= self.dropout < 1
        _check(drops, "dropout", self.dropout, "a number from 0 up to, not including, 1")
        self.target_modules = _several(self.target_modules, str, "target_modules", "a list of names")
        self.layers_to_transform = _several(
            self.layers_to_transform, int, "layers_to_transform", "a list of block numbers"
        )


def _several(value: Any, kind: type, field: str, expected: str) -> tuple[Any, ...] | None:
    if value is None:
        return None
    listed = isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(one, kind) for one in value)
    _check(listed and len(value) > 0, field, value, expected)
    return tuple(sorted(set(value)))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check(holds: bool, field: str, value: object, expected: str | tuple[str, ...]) -> None:
    if holds:
        return
    names = () if isinstance(expected, str) else expected
    near = nearest(str(value), names)
    raise ConfigError(
        f"{field} of a bottleneck adapter cannot be this",
        where=field,
        value=value,
        expected=expected if isinstance(expected, str) else ", ".join(names),
        hint=f"did you mean {near}?" if near else None,
    )
