"""`pretrain`: a blank model learns from text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hanji.artifacts.artifact import Artifact
from hanji.methods import METHODS
from hanji.models.load import blank_model
from hanji.objectives import OBJECTIVES
from hanji.recipes.context import StageContext
from hanji.recipes.schema import PretrainStage
from hanji.recipes.stages.tokens import digest_of, location
from hanji.recipes.stages.training import load_corpus, train
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.training.parallel import Parallel


def make(
    stage: PretrainStage, inputs: Mapping[str, Artifact | str], work: Path, context: StageContext
) -> dict[str, Any]:
    """Draws random weights and trains them; see `training.train`."""
    parallel = Parallel.from_environment(context.device)
    source = inputs[stage.tokenizer]
    tokenizer = Tokenizer.load(location(source))
    objective = OBJECTIVES.load(stage.objective)()
    corpus = load_corpus(
        stage.data, inputs, tokenizer=tokenizer, tokenizer_digest=digest_of(source),
        objective=objective, settings=stage.train, parallel=parallel, context=context,
    )  # fmt: skip
    model = blank_model(stage.model, tokenizer, overrides=stage.config, seed=context.seed)
    return train(
        model, tokenizer, corpus, objective=objective, method=METHODS.load("full")(),
        settings=stage.train, parallel=parallel, work=work, context=context,
    )  # fmt: skip
