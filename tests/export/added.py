"""What a method added to a base, in a directory as a stage leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hanji.contracts.labels import Labels
from hanji.contracts.protocols import Head
from hanji.methods import METHODS
from hanji.models.load import load_with_head
from hanji.recipes.stages.model_files import Origin, write_model
from hanji.tokenizers.tokenizer import Tokenizer


def make_added(
    base: Path,
    method: str,
    work: Path,
    *,
    labels: Labels | None = None,
    options: dict[str, Any] | None = None,
) -> Path:
    """Applies `method` to the base, gives what learns other values, and writes it."""
    tokenizer = Tokenizer.load(base)
    head: Head = "causal" if labels is None else "classification"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        loaded = load_with_head(base, head, labels=labels, pad_id=tokenizer.pad_id, seed=0)
        origin = Origin.of(
            str(base), loaded.model, work, tokenizer=tokenizer, head=head, new=loaded.new, labels=labels
        )
        applied = METHODS.load(method)(**(options or {}))
        model: Any = applied.apply(loaded.model, new=loaded.new, encoder=tokenizer)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * 0.1
        work.mkdir(parents=True, exist_ok=True)
        write_model(
            model,
            work,
            tokenizer=tokenizer,
            method=applied,
            origin=origin,
            merge=False,
            state=model.state_dict(),
        )
    return work
