"""What a training stage leaves: a whole model, or what its method added and the base it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from transformers import PreTrainedModel

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.models import Base, is_added
from hanji.contracts.labels import Labels
from hanji.contracts.protocols import AddingMethod, Head, Method
from hanji.models.identity import weights_digest
from hanji.models.load import save_model
from hanji.recipes.stages.corpus import Corpus
from hanji.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Origin:
    """The model that a stage began with, where its method leaves it as it is.

    Attributes:
        base: what is written beside what was added.
        place: where PEFT finds it.
    """

    base: Base
    place: str

    @classmethod
    def of(
        cls,
        source: Artifact | str,
        model: PreTrainedModel,
        work: Path,
        *,
        tokenizer: Tokenizer,
        head: Head,
        new: tuple[str, ...],
        labels: Labels | None,
    ) -> Origin:
        """Of a model as it was loaded. With a LoRA merged into it, it is in no directory yet, and written to
        `base/` in `work`."""
        path = source.path if isinstance(source, Artifact) else Path(source).expanduser()
        artifact = ""
        if is_added(path):
            place, named = str(work.with_name(work.name.removesuffix(".partial")) / "base"), "base"
            save_model(model, work / "base", generation=tokenizer.generation_settings())
            tokenizer.save(work / "base")
        else:
            named = place = str(path.absolute()) if path.exists() else str(source)
            if isinstance(source, Artifact):
                artifact = f"{source.name}/{path.resolve().name}"
        named_labels = None if labels is None else {"kind": labels.kind, "names": labels.names}
        base = Base(named, artifact, weights_digest(model, new), head, new, named_labels, tokenizer.pad_id)
        return cls(base, place)


def write_model(
    model: Any,
    work: Path,
    *,
    tokenizer: Tokenizer,
    method: Method,
    origin: Origin | None,
    merge: bool,
    state: Mapping[str, Tensor],
) -> None:
    """Writes model and tokenizer.

    Args:
        origin: of what the method added to; None for whole models.
        merge: makes a whole model of what was added.
        state: the whole weights.
    """
    generation = tokenizer.generation_settings()
    if origin is not None and not merge:
        adding = cast("AddingMethod", method)
        adding.save(model, work, base=origin.place, state=state)
        quantization = getattr(method, "quantization", None)
        replace(origin.base, quantization=quantization).write(work)
    elif merge:
        model.load_state_dict(state)
        save_model(cast("AddingMethod", method).merge(model), work, generation=generation)
    else:
        save_model(model, work, state=state, generation=generation)
    tokenizer.save(work)


def write_statistics(corpus: Corpus, work: Path) -> None:
    """Writes what was learned from and scored on, in figures."""
    statistics = {
        "training": [store.statistics for store in corpus.training],
        "validation": [store.statistics for store in corpus.held_out],
    }
    (work / "data.json").write_text(json.dumps(statistics, indent=2, ensure_ascii=False), encoding="utf-8")
