"""What an engine is told of the models that it serves, and what it makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import torch

from hanji.contracts.errors import ConfigError, nearest
from hanji.serving.models import Settings, Start


@dataclass(frozen=True, slots=True)
class Source:
    """A model, or an adapter, before it is loaded.

    Attributes:
        name: what clients call it. `place`: a directory, a hub id, or a `.gguf` file.
        artifact: where it came from, for its card: `recipe/stage/fingerprint`, or a name.
    """

    name: str
    place: str
    artifact: str


@dataclass(frozen=True, slots=True)
class Setup:
    """How an engine serves.

    Attributes:
        queue: answers that may wait for a slot.
        device: where the model runs; None: where the engine puts it.
        options: of the engine itself, by its own names.
    """

    settings: Settings
    queue: int
    device: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


class Engine(Protocol):
    """A function of this shape is what `ENGINES` names."""

    def __call__(self, source: Source, adapters: Mapping[str, Source], setup: Setup) -> dict[str, Start]:
        """How a model, and the adapters over it, come to answer by their names; the model first.

        Raises:
            HanjiError: the engine is not installed, or cannot serve this, or has no such option.
        """


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Stands for a model whose weights another program holds.

    Attributes:
        config: the model's, as transformers reads it. `dtype`: of its keys and values.
    """

    config: Any
    dtype: torch.dtype = torch.float32


def check_options(engine: str, options: Mapping[str, Any], known: Mapping[str, str | None]) -> None:
    """Refuses options that an engine has not, and those that are said otherwise.

    Args:
        known: by name; what to say in an option's place, or None where it is taken.

    Raises:
        ConfigError: such an option.
    """
    for name, value in options.items():
        if name not in known:
            near = nearest(name, known)
            raise ConfigError(
                f"{engine} has no such option", where="--engine-option", value=name,
                hint=f"did you mean {near}?" if near else None,
            )  # fmt: skip
        if (instead := known[name]) is not None:
            raise ConfigError(
                f"{engine} is told this otherwise", where="--engine-option", value=f"{name}={value}",
                expected=instead,
            )  # fmt: skip


def only_hanji(engine: str, setup: Setup) -> None:
    """Refuses settings that only our own engine has.

    Raises:
        ConfigError: one of them is given.
    """
    for option, value in (("--device", setup.device), ("--pooling", setup.settings.pooling)):
        if value is not None:
            raise ConfigError(
                f"{engine} has no such setting", where=option, value=value,
                hint="--engine-option takes the engine's own; --engine hanji has this one",
            )  # fmt: skip
