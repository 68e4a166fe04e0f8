"""Before a training stage runs: what it will need, and a refusal where this device has not as much."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.models import config_of
from hanji.contracts.protocols import Method
from hanji.data.prepared import row_kind
from hanji.methods import METHODS
from hanji.models.heads import check_head
from hanji.models.load import blank_config
from hanji.recipes.plan.check import ensure_fits
from hanji.recipes.plan.rows import LearningRows, mixed
from hanji.recipes.plan.trace import Learning
from hanji.recipes.schema import FinetuneStage, PretrainStage
from hanji.recipes.stages.objectives import bind, make_objective
from hanji.recipes.stages.tokens import location
from hanji.tokenizers.tokenizer import Tokenizer

Training = PretrainStage | FinetuneStage


def plan_before_training(
    name: str, stage: Training, inputs: Mapping[str, Artifact | str], device: str, work: Path
) -> None:
    """Writes `plan.json` into `work`; no weights are loaded.

    Raises:
        ResourceError: the stage cannot fit; says which settings would make it fit.
    """
    objective = make_objective(stage.objective)
    directories = {mix.data: Path(location(inputs[mix.data])) for mix in stage.data}
    if any(row_kind(directory) != objective.rows for directory in directories.values()):
        return  # the stage itself refuses these rows, and says why
    tokenizer = Tokenizer.load(location(inputs[_tokenizer_of(stage)]))
    method: Method | None = None
    if isinstance(stage, PretrainStage):
        config = blank_config(stage.model, tokenizer, overrides=stage.config)
    else:
        config = config_of(location(inputs[stage.model]))
        method = METHODS.load(stage.method.name)(**stage.method.options)
    check_head(config, objective.head, objective.name)
    labels = bind(objective, tokenizer, stage.train.sequence_length, directories.values())
    parts = [
        LearningRows.sampled(directory, data, tokenizer, objective, stage.train.sequence_length)
        for data, directory in directories.items()
    ]
    weights = [mix.weight for mix in stage.data if mix.weight is not None]
    model = stage.model if isinstance(stage.model, str) else str(stage.model.get("model_type"))
    found = ensure_fits(
        config, stage.train, mixed(parts, weights or None), name=name, model=model, device=device,
        learning=Learning.of(objective, method, labels, tokenizer),
    )  # fmt: skip
    found.save(work / "plan.json")


def _tokenizer_of(stage: Training) -> str:
    if isinstance(stage, FinetuneStage):
        return stage.tokenizer or stage.model
    return stage.tokenizer
