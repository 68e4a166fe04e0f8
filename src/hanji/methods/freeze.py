"""Layer-wise freezing: a part of the model learns, the rest stays as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from hanji.contracts.blocks import block_list
from hanji.contracts.errors import ConfigError
from hanji.contracts.protocols import Encoder
from hanji.methods.modules import head_modules


class Freeze:
    """Some blocks learn, or some kinds of parameters; all else is frozen.

    Blocks below the lowest that learns run without autograd and keep no activations, where the embedding is
    frozen too: that is where time and memory are saved.

    Args:
        top_layers: how many of the last blocks learn.
        bottom_layers: how many of the first blocks learn.
        modules: regular expressions; parameters whose name one of them finds learn.
        embeddings: whether token and position embeddings learn.
        norms: whether all norms learn.
        biases: whether all biases learn (BitFit: Ben Zaken et al. 2022).
        head: whether what stands behind the body learns, unless it is the embedding's matrix. A new head
            always does.
        gradually: share of the run after which all of `top_layers` learn; until then they thaw one by one
            from the last (Howard and Ruder 2018). 0: all from the start.

    Raises:
        ConfigError: an option out of its range, or nothing that learns.
    """

    name = "freeze"
    adds = False
    merges = False

    def __init__(
        self,
        top_layers: int | None = None,
        bottom_layers: int = 0,
        modules: list[str] | None = None,
        embeddings: bool = False,
        norms: bool = False,
        biases: bool = False,
        head: bool = True,
        gradually: float = 0.0,
    ) -> None:
        others = bool(bottom_layers or modules or embeddings or norms or biases)
        self.top_layers = (0 if others else 2) if top_layers is None else top_layers
        self.bottom_layers, self.modules = bottom_layers, modules or []
        self.embeddings, self.norms, self.biases, self.head = embeddings, norms, biases, head
        if self.top_layers < 0 or bottom_layers < 0:
            raise ConfigError("a number of layers is negative", where="method", value=top_layers)
        if not 0 <= gradually <= 1 or (gradually and self.top_layers < 2):
            raise ConfigError(
                "gradually is a share of the run in which two or more top_layers thaw",
                where="method.gradually",
                value=gradually,
                expected="0 to 1",
            )
        self.gradually = gradually
        for pattern in self.modules:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"not a regular expression: {error}", where="method.modules", value=pattern
                ) from error

    def apply(
        self, model: nn.Module, *, new: Sequence[str] = (), encoder: Encoder | None = None
    ) -> nn.Module:
        """See `contracts.Method`."""
        _, blocks = block_list(model)
        if self.top_layers + self.bottom_layers > len(blocks):
            raise ConfigError(
                "there are fewer blocks than are to learn",
                where="method.top_layers",
                value=self.top_layers + self.bottom_layers,
                expected=f"at most {len(blocks)}",
            )
        model.requires_grad_(False)
        learning: list[nn.Module] = [*blocks[len(blocks) - self.top_layers :], *blocks[: self.bottom_layers]]
        learning += [model.get_submodule(name) for name in (head_modules(model) if self.head else ())]
        learning += [model.get_submodule(name) for name in new]
        for module in learning:
            module.requires_grad_(True)
        if not self.embeddings:
            model.get_input_embeddings().requires_grad_(False)  # type: ignore[operator]
        self._by_kind(model)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ConfigError(
                "nothing learns", where="method", hint="set top_layers, norms, biases or modules"
            )
        if self.gradually:
            for parameter in self._thawing(model):
                parameter.thaws = True  # type: ignore[attr-defined]
        return model

    def advance(self, model: nn.Module, share: float) -> None:
        """Before a step: thaws as many blocks as belong to this share of the run."""
        if not self.gradually:
            return
        _, blocks = block_list(model)
        frozen = int(max(0.0, 1 - share / self.gradually) * self.top_layers + 0.999999)
        first = len(blocks) - self.top_layers
        for index in range(first, len(blocks)):
            learns = index >= first + min(frozen, self.top_layers - 1)
            for parameter in blocks[index].parameters():
                if getattr(parameter, "thaws", False):
                    parameter.requires_grad_(learns)

    def _thawing(self, model: nn.Module) -> list[nn.Parameter]:
        _, blocks = block_list(model)
        top = blocks[len(blocks) - self.top_layers :]
        return [parameter for block in top for parameter in block.parameters() if parameter.requires_grad]

    def _by_kind(self, model: nn.Module) -> None:
        matched = dict.fromkeys(self.modules, False)
        for name, parameter in model.named_parameters():
            found = [pattern for pattern in self.modules if re.search(pattern, name)]
            matched |= dict.fromkeys(found, True)
            if found or (self.biases and name.endswith("bias")):
                parameter.requires_grad_(True)
        for pattern, hit in matched.items():
            if not hit:
                names = list(
                    dict.fromkeys(re.sub(r"\.\d+\.", ".N.", name) for name, _ in model.named_parameters())
                )
                raise ConfigError(
                    "no parameter is called so",
                    where="method.modules",
                    value=pattern,
                    expected=f"a part of: {', '.join(names)}",
                )
        for module in model.modules():
            if self.norms and "norm" in type(module).__name__.lower():
                module.requires_grad_(True)
            if self.embeddings and isinstance(module, nn.Embedding):
                module.requires_grad_(True)


def learning_names(model: Any) -> list[str]:
    """Names of the parameters that learn."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]
