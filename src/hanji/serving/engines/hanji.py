"""Our own engine: any model and any method, weights in this process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from hanji.artifacts.models import head_in, load_trained
from hanji.serving.engines.engine import Setup, Source, check_options
from hanji.serving.models import Loaded, Start, start
from hanji.serving.shared import AdapterSource, SharedBase
from hanji.tokenizers.tokenizer import Tokenizer


def starts(source: Source, adapters: Mapping[str, Source], setup: Setup) -> dict[str, Start]:
    """See `engine.Engine`. The weights are read now, once for the model and its adapters."""
    check_options("hanji's own engine", setup.options, {})
    loaded = _load(source, setup.device or "cpu")
    if not adapters:
        return {source.name: partial(start, source.name, loaded, setup.settings, setup.queue)}
    over = {
        name: AdapterSource(Path(one.place), Tokenizer.load(one.place), one.artifact)
        for name, one in adapters.items()
    }
    return SharedBase(source.name, loaded, setup.settings, setup.queue, over).starts


def _load(source: Source, device: str) -> Loaded:
    tokenizer = Tokenizer.load(source.place)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = load_trained(source.place, dtype=dtype)
    return Loaded(model.to(device).eval(), tokenizer, head_in(source.place), source.artifact)
