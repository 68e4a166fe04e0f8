"""`finetune`: a trained model learns further, from chats or from more text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hanji.artifacts.artifact import Artifact
from hanji.methods import METHODS
from hanji.models.load import load_model
from hanji.objectives import OBJECTIVES
from hanji.recipes.context import StageContext
from hanji.recipes.schema import FinetuneStage
from hanji.recipes.stages.tokens import digest_of, location
from hanji.recipes.stages.training import check_vocabulary, load_corpus, train
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.training.parallel import Parallel


def make(
    stage: FinetuneStage, inputs: Mapping[str, Artifact | str], work: Path, context: StageContext
) -> dict[str, Any]:
    """Loads the model, applies the method and trains; see `training.train`."""
    parallel = Parallel.from_environment(context.device)
    source = inputs[stage.tokenizer or stage.model]
    tokenizer = Tokenizer.load(location(source))
    objective = OBJECTIVES.load(stage.objective)()
    corpus = load_corpus(
        stage.data, inputs, tokenizer=tokenizer, tokenizer_digest=digest_of(source),
        objective=objective, settings=stage.train, parallel=parallel, context=context,
    )  # fmt: skip
    model = load_model(location(inputs[stage.model]))
    check_vocabulary(model, tokenizer)
    method = METHODS.load(stage.method.name)(**stage.method.model_dump(exclude={"name"}))
    return train(
        model, tokenizer, corpus, objective=objective, method=method,
        settings=stage.train, parallel=parallel, work=work, context=context,
    )  # fmt: skip
