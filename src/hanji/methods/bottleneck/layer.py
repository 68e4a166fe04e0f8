"""One adapted projection: the projection as it was, and beside it the bottlenecks of every adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.activations import ACT2FN

from hanji.contracts.errors import ConfigError


class BottleneckLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """A linear module whose output h has bottleneck adapters.

        sequential: h + scaling · up(dropout(activation(down(h))))   Houlsby et al. 2019, Pfeiffer et al. 2020
        parallel:   h + scaling · up(dropout(activation(down(x))))   He et al. 2022

    x is what the whole feed-forward reads. A feed-forward is one module in Llama and scattered over a block
    in BERT, but in all of them one first projection reads x and runs just before the last, so x is caught at
    that one, by a hook. Where a block drops units (dropout) or normalises (Gemma 2, OLMo 2) between
    projection and residual addition, the adapter comes before that. Several active adapters each read the
    same h or x, and what they add is summed.

    Args:
        base_layer: `nn.Linear` or `Conv1D`, which stays as it is.
        name: where it is in the model, for messages.
    """

    adapter_layer_names = ("bottleneck_down", "bottleneck_activation", "bottleneck_up")
    other_param_names = ("bottleneck_dropout", "scaling", "parallel")

    # of BaseTunerLayer, which mypy does not see
    active_adapters: list[str]
    disable_adapters: bool
    _cast_input_dtype: Callable[[Tensor, Any], Tensor]
    _move_adapter_to_device_of_base_layer: Callable[[str], None]
    set_adapter: Callable[..., None]

    def __init__(self, base_layer: nn.Module, name: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.name = name
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_activation = nn.ModuleDict()
        self.bottleneck_dropout = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.scaling: dict[str, float] = {}
        self.parallel: dict[str, bool] = {}
        self._catch: RemovableHandle | None = None
        self._caught: Tensor | None = None

    def add_adapter(
        self,
        adapter: str,
        *,
        input_size: int,
        bottleneck: int,
        output_size: int,
        activation: str,
        scaling: float,
        dropout: float,
        first: nn.Module | None,
        inference: bool,
    ) -> None:
        """Adds a bottleneck that changes nothing yet.

        The up-projection starts at zero, so that training starts from the very model that there was, to the
        bit. The down-projection keeps torch's random start, uniform within ±1/√input_size: were both zero,
        neither would ever have a gradient. (So start He et al. 2022; Houlsby et al. 2019 draw both with a
        deviation of 0.01, which is near the identity but not it.)

        Args:
            first: of the feed-forward, for a parallel adapter; None for a sequential one.
        """
        down, up = nn.Linear(input_size, bottleneck), nn.Linear(bottleneck, output_size)
        for start_at_zero in (down.bias, up.weight, up.bias):
            nn.init.zeros_(start_at_zero)
        self.bottleneck_down[adapter] = down
        self.bottleneck_activation[adapter] = ACT2FN[activation]
        self.bottleneck_dropout[adapter] = nn.Dropout(dropout)
        self.bottleneck_up[adapter] = up
        self.scaling[adapter] = scaling
        self.parallel[adapter] = first is not None
        if first is not None and self._catch is None:
            self._catch = first.register_forward_pre_hook(self._remember)
        self._move_adapter_to_device_of_base_layer(adapter)
        self.set_adapter(self.active_adapters, inference_mode=inference)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., output_size], in the type that the projection gives."""
        caught, self._caught = self._caught, None
        h: Tensor = self.base_layer(x, *args, **kwargs)
        adapted = h
        for adapter in self._working():
            read = h
            if self.parallel[adapter]:
                if caught is None:
                    raise self._nothing_caught()
                read = caught
            adapted = adapted + self._bottleneck(adapter, read)
        return adapted.to(h.dtype)

    def _bottleneck(self, adapter: str, read: Tensor) -> Tensor:
        down = self.bottleneck_down[adapter]
        hidden = self.bottleneck_activation[adapter](down(self._cast_input_dtype(read, down.weight.dtype)))
        added: Tensor = self.bottleneck_up[adapter](self.bottleneck_dropout[adapter](hidden))
        return self.scaling[adapter] * added

    def _working(self) -> list[str]:
        if self.disable_adapters:
            return []
        return [adapter for adapter in self.active_adapters if adapter in self.parallel]

    def _remember(self, _first: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs and any(self.parallel[adapter] for adapter in self._working()):
            self._caught = inputs[0]

    def _nothing_caught(self) -> ConfigError:
        return ConfigError(
            "a parallel adapter does not see what its feed-forward reads",
            where=self.name,
            expected="that the feed-forward calls its first projection before its last",
            hint="switch off kernels that compute a feed-forward in one piece, or take placement pfeiffer",
        )

    def delete_adapter(self, adapter_name: str) -> None:
        """Forgets an adapter, as PEFT asks."""
        super().delete_adapter(adapter_name)
        if not any(self.parallel.values()):
            self.stop_catching()

    def stop_catching(self) -> None:
        """Takes the hook from the feed-forward's first projection."""
        if self._catch is not None:
            self._catch.remove()
        self._catch = self._caught = None

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Refuses.

        Raises:
            ConfigError: always.
        """
        raise cannot_merge()


def cannot_merge() -> ConfigError:
    """Why a bottleneck cannot become part of its model's weights, and what to do instead."""
    return ConfigError(
        "a bottleneck adapter cannot be merged into its model",
        expected="a product of two matrices, as lora adds; here a non-linear function stands between them",
        hint="keep the adapter beside the model (PeftModel.from_pretrained loads both), or train with lora",
    )
