"""What a model is scored on: held-out rows of the data given, or of its own, tokenised as in its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from hanji.artifacts.artifact import RECORD, Artifact
from hanji.contracts.labels import Labels
from hanji.contracts.protocols import Head, Objective
from hanji.contracts.rows import TokenRows
from hanji.data.prepared import row_kind
from hanji.data.stream import held_out_batches
from hanji.data.token_store import TokenStore
from hanji.objectives import OBJECTIVES
from hanji.recipes.context import StageContext
from hanji.recipes.stages.objectives import bind, make_objective
from hanji.recipes.stages.tokens import Encoding, digest_of, location, prepared, token_store
from hanji.tokenizers.tokenizer import Tokenizer

MICRO_BATCH_TOKENS: Final = 4096
SEQUENCE_LENGTH: Final = 1024
"""Of rows for models that were not trained here, if their context is not shorter."""
_ROWS_AT_A_TIME: Final = 8192


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Rows of one objective.

    Attributes:
        training: stores of training rows, for a baseline to learn from; of texts only.
        held_out: stores of held-out rows.
        names: data and split of each of the latter.
    """

    objective: Objective
    training: list[TokenStore] = field(default_factory=list)
    held_out: list[TokenStore] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def training_batches(self) -> Iterator[TokenRows]:
        """Every training row once."""
        for store in self.training:
            for start in range(0, len(store), _ROWS_AT_A_TIME):
                yield store.take(np.arange(start, min(start + _ROWS_AT_A_TIME, len(store))))

    def held_out_batches(self) -> Iterator[TokenRows]:
        """Every held-out row once."""
        return chain.from_iterable(
            held_out_batches(store, micro_batch_tokens=MICRO_BATCH_TOKENS) for store in self.held_out
        )


def find_rows(
    source: Artifact | str,
    config: Any,
    head: Head,
    tokenizer: Tokenizer,
    data: Artifact | str | None,
    context: StageContext,
    *,
    like: Artifact | None = None,
) -> ScoredRows | None:
    """The rows that a model is scored on; None where no data is given and none is known, or where the
    objective needs the model of before training to score.

    Args:
        source: the model. `config`, `head`: of it.
        data: prepared data; None for what the model learned from.
        like: another model, whose data and objective are taken instead.
    """
    own: Mapping[str, Any] = source.record.config if isinstance(source, Artifact) else {}
    said = own if like is None else like.record.config
    mixture, objective = _mixture(source if like is None else like, said, head, data, context)
    if objective is None or objective.reference:
        return None
    train = said.get("train", {})
    longest = getattr(config, "max_position_embeddings", None) or SEQUENCE_LENGTH
    length = train.get("sequence_length", min(SEQUENCE_LENGTH, longest))
    if like is not None:
        length = min(length, longest)
    there = [item for item in mixture if Path(location(item)).is_dir()]
    for item in mixture:
        if item not in there:
            context.progress.note(f"{short_name(item, context)} is gone: nothing can be scored on it")
    bind(objective, tokenizer, length, [prepared(item).path for item in there], Labels.of_config(config))
    digest = _tokenizer_digest(source, own, context)
    encoding = Encoding(tokenizer, digest, objective, length, train.get("overlong"), context)
    rows = ScoredRows(objective)
    for item in there:
        _add(rows, item, encoding, context)
    return rows


def origin(artifact: Artifact, name: str, context: StageContext) -> Artifact | str:
    """What `name` meant when `artifact` was made."""
    path = artifact.record.parents[name]["path"]
    place = context.workspace.root / path
    return Artifact.open(place) if (place / RECORD).is_file() else path


def short_name(source: Artifact | str, context: StageContext) -> str:
    """The stage's name within the recipe, `recipe/stage` beyond it; the last part of a path."""
    if isinstance(source, Artifact):
        recipe = context.name.partition("/")[0]
        return source.name.removeprefix(f"{recipe}/")
    return Path(source).name if Path(source).exists() else source


def _mixture(
    source: Artifact | str,
    config: Mapping[str, Any],
    head: Head,
    data: Artifact | str | None,
    context: StageContext,
) -> tuple[list[Artifact | str], Objective | None]:
    """The data, and the objective that its rows are for."""
    if data is not None:
        return [data], _objective_for(row_kind(prepared(data).path), head)
    if isinstance(source, Artifact) and "objective" in config:
        own = [origin(source, mix["data"], context) for mix in config["data"]]
        return own, make_objective(config["objective"])
    return [], None


def _objective_for(kind: str, head: Head) -> Objective | None:
    """The first registered objective that learns from such rows with such a head."""
    made = (make_objective({"name": name}) for name in OBJECTIVES)
    return next((found for found in made if found.rows == kind and found.head == head), None)


def _tokenizer_digest(source: Artifact | str, config: Mapping[str, Any], context: StageContext) -> str:
    """As the training stage gave it, so that its token stores are found again."""
    if isinstance(source, Artifact) and "objective" in config:
        return digest_of(origin(source, config.get("tokenizer") or config["model"], context))
    return digest_of(source)


def _add(rows: ScoredRows, data: Artifact | str, encoding: Encoding, context: StageContext) -> None:
    """The `test` rows where there are some, else the `validation` rows; and the training rows of texts."""
    found = prepared(data)
    for split in ("test", "validation"):
        store = token_store(found, split, encoding)
        if store is not None:
            rows.held_out.append(store)
            rows.names.append(f"{short_name(data, context)} ({split})")
            break
    if rows.objective.rows == "text" and rows.objective.head == "causal":
        store = token_store(found, "train", encoding)
        rows.training.extend([store] if store is not None else [])
