"""`pretrain`: a blank model learns from text, or from labels alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hanji.artifacts.artifact import Artifact
from hanji.methods import METHODS
from hanji.models.heads import check_head
from hanji.models.load import Loaded, blank_config, blank_model
from hanji.recipes.context import StageContext
from hanji.recipes.schema import PretrainStage
from hanji.recipes.stages.corpus import load_corpus
from hanji.recipes.stages.objectives import bind, check_rows, make_objective
from hanji.recipes.stages.tokens import digest_of, location, prepared
from hanji.recipes.stages.training import Training
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.training.parallel import Parallel
from hanji.training.peak_memory import PeakMemory


def make(
    stage: PretrainStage, inputs: Mapping[str, Artifact | str], work: Path, context: StageContext
) -> dict[str, Any]:
    """Draws random weights and trains them; see `training.Training`."""
    parallel = Parallel.from_environment(context.device)
    source = inputs[stage.tokenizer]
    tokenizer = Tokenizer.load(location(source))
    objective = make_objective(stage.objective)
    config = blank_config(stage.model, tokenizer, overrides=stage.config)
    check_head(config, objective.head, objective.name)
    directories = {mix.data: prepared(inputs[mix.data]).path for mix in stage.data}
    check_rows(objective, directories)
    labels = bind(objective, tokenizer, stage.train.sequence_length, directories.values())
    corpus = load_corpus(
        stage.data, inputs, tokenizer=tokenizer, tokenizer_digest=digest_of(source),
        objective=objective, settings=stage.train, parallel=parallel, context=context,
    )  # fmt: skip
    peak = PeakMemory(parallel.device)
    model = blank_model(
        stage.model, tokenizer,
        head=objective.head, labels=labels, overrides=stage.config, seed=context.seed,
    )  # fmt: skip
    return Training(
        Loaded(model), None, labels, tokenizer, objective, METHODS.load("full")(), corpus,
        stage.train, parallel, work, context, peak,
    )()  # fmt: skip
