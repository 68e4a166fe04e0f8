"""Our own engine: any model and any method, weights in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import torch

from hanji.artifacts.models import head_in, load_trained
from hanji.contracts.errors import ConfigError
from hanji.serving.engines.engine import Setup, Source, check_options
from hanji.serving.models import Loaded, Settings, Start, start
from hanji.serving.shared import AdapterSource, SharedBase
from hanji.tokenizers.tokenizer import Tokenizer

OPTIONS: Final[dict[str, type]] = {"compiled": bool, "packed_bytes": int}
"""Of `generation.Engine`, beside what the command line has options for."""


def starts(source: Source, adapters: Mapping[str, Source], setup: Setup) -> dict[str, Start]:
    """See `engine.Engine`. The weights are read now, once for the model and its adapters."""
    settings = _settings(setup)
    loaded = _load(source, setup.device or "cpu")
    if not adapters:
        return {source.name: partial(start, source.name, loaded, settings, setup.queue)}
    over = {
        name: AdapterSource(Path(one.place), Tokenizer.load(one.place), one.artifact)
        for name, one in adapters.items()
    }
    return SharedBase(source.name, loaded, settings, setup.queue, over).starts


def _settings(setup: Setup) -> Settings:
    check_options("hanji's own engine", setup.options, dict.fromkeys(OPTIONS))
    for name, value in setup.options.items():
        if type(value) is not OPTIONS[name] or (isinstance(value, int) and value < 0):
            expected = "true or false" if OPTIONS[name] is bool else "bytes, 0 or more"
            raise ConfigError(
                "This option takes other values", where="--engine-option", value=f"{name}={value}",
                expected=expected,
            )  # fmt: skip
    return replace(setup.settings, **setup.options)


def _load(source: Source, device: str) -> Loaded:
    tokenizer = Tokenizer.load(source.place)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = load_trained(source.place, dtype=dtype)
    return Loaded(model.to(device).eval(), tokenizer, head_in(source.place), source.artifact)
