"""The tuner: puts bottlenecks into a model, and takes them out again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from hanji.contracts.errors import ConfigError
from hanji.methods.bottleneck.config import BottleneckConfig
from hanji.methods.bottleneck.layer import BottleneckLayer, cannot_merge
from hanji.methods.bottleneck.sites import (
    FEED_FORWARD,
    feed_forward_input,
    find_sites,
    in_layers,
    linear_modules,
    named_sites,
    out_features,
)


class BottleneckModel(BaseTuner):  # type: ignore[misc]
    """A model whose blocks have bottleneck adapters: `get_peft_model(model, BottleneckConfig())` makes one.

    Everything that could be refused is refused before the model is touched. ALBERT's blocks share their
    weights, and so they share their adapters.
    """

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer

    def _prepare_adapter_config(
        self, peft_config: BottleneckConfig, model_config: Mapping[str, Any]
    ) -> BottleneckConfig:
        """Writes the whole names of all adapted modules into the config, so that they are saved with it."""
        linears = linear_modules(self.model)
        names = list(linears)
        given = peft_config.target_modules
        sites = find_sites(names, peft_config.placement) if given is None else named_sites(names, given)
        if peft_config.layers_to_transform is not None:
            sites = in_layers(sites, peft_config.layers_to_transform)
        whole = "|".join(peft_config.modules_to_save or ())
        sites = [name for name in sites if not (whole and re.search(rf"(^|\.)({whole})($|\.)", name))]
        if not sites:
            raise ConfigError(
                "nothing is left to adapt: modules_to_save trains all of it whole",
                where="modules_to_save",
                value=peft_config.modules_to_save,
            )
        for name in sites:
            self._check_site(peft_config, linears, name)
        # A tuple, because a list of twenty names or more would become a set of ends of names, in PEFT.
        peft_config.target_modules = tuple(sites)
        return peft_config

    def _check_site(self, config: BottleneckConfig, linears: Mapping[str, nn.Module], name: str) -> None:
        width = out_features(linears[name])
        if width // config.reduction_factor < 1:
            raise ConfigError(
                f"the bottleneck would be 0 wide: {name} gives {width}",
                where="reduction_factor",
                value=config.reduction_factor,
                expected=f"at most {width}",
            )
        if config.placement == "parallel" and feed_forward_input(linears, name) is None:
            pairs = ", ".join(
                f"{first} … {last}" for last, firsts in FEED_FORWARD.items() for first in firsts
            )
            raise ConfigError(
                "a parallel adapter goes beside a feed-forward, and this module is not known to end one",
                where="target_modules",
                value=name,
                expected=f"the second of {pairs}, with the first beside it",
                hint="take placement pfeiffer, which reads the module's own output",
            )
        module = self.model.get_submodule(name)
        if not isinstance(module, BottleneckLayer) and module is not linears[name]:
            raise ConfigError(
                "another kind of adapter is on this module already",
                where="target_modules",
                value=name,
                hint="unload that one first, or adapt other modules",
            )

    @staticmethod
    def _check_target_module_exists(peft_config: BottleneckConfig, key: str) -> bool:
        return key in (peft_config.target_modules or ())

    def _create_and_replace(
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        first = None
        if peft_config.placement == "parallel":
            first = feed_forward_input(linear_modules(self.model), current_key)
        layer = target if isinstance(target, BottleneckLayer) else BottleneckLayer(target, current_key)
        output_size = out_features(layer.base_layer)
        layer.add_adapter(
            adapter_name,
            input_size=output_size,
            bottleneck=int(output_size // peft_config.reduction_factor),
            output_size=output_size,
            activation=peft_config.activation,
            scaling=peft_config.scaling,
            dropout=peft_config.dropout,
            first=self.model.get_submodule(first) if first else None,
            inference=peft_config.inference_mode,
        )
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    # PEFT would drop `adapter_names` in silence where a tuner has no such method.
    @contextmanager
    def _enable_peft_forward_hooks(
        self, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any
    ) -> Iterator[None]:
        if adapter_names is not None:
            raise ConfigError(
                "rows of one batch cannot use different bottleneck adapters",
                where="adapter_names",
                hint="choose one for all of them with set_adapter",
            )
        yield

    def _check_merge_allowed(self) -> None:
        raise cannot_merge()

    def _unload_and_optionally_merge(self, *args: Any, **kwargs: Any) -> nn.Module:
        layers = [module for module in self.model.modules() if isinstance(module, BottleneckLayer)]
        model: nn.Module = super()._unload_and_optionally_merge(*args, **kwargs)
        for layer in layers:
            layer.stop_catching()
        return model
