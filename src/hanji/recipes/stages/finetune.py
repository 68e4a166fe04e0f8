"""`finetune`: a trained model learns further, from chats, labels, preferences or more text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.models import config_of, load_to_train
from hanji.contracts.labels import Labels
from hanji.methods import METHODS
from hanji.models.heads import check_head
from hanji.recipes.context import StageContext
from hanji.recipes.schema import FinetuneStage
from hanji.recipes.stages.corpus import load_corpus
from hanji.recipes.stages.objectives import bind, check_rows, make_objective
from hanji.recipes.stages.tokens import digest_of, location, prepared
from hanji.recipes.stages.training import Training, check_vocabulary
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.training.parallel import Parallel
from hanji.training.peak_memory import PeakMemory


def make(
    stage: FinetuneStage, inputs: Mapping[str, Artifact | str], work: Path, context: StageContext
) -> dict[str, Any]:
    """Loads the model, applies the method and trains; see `training.Training`."""
    parallel = Parallel.from_environment(context.device)
    source = inputs[stage.tokenizer or stage.model]
    tokenizer = Tokenizer.load(location(source))
    objective = make_objective(stage.objective)
    config = config_of(location(inputs[stage.model]))
    check_head(config, objective.head, objective.name)
    directories = {mix.data: prepared(inputs[mix.data]).path for mix in stage.data}
    check_rows(objective, directories)
    known = Labels.of_config(config)
    labels = bind(objective, tokenizer, stage.train.sequence_length, directories.values(), known)
    corpus = load_corpus(
        stage.data, inputs, tokenizer=tokenizer, tokenizer_digest=digest_of(source),
        objective=objective, settings=stage.train, parallel=parallel, context=context,
    )  # fmt: skip
    method = METHODS.load(stage.method.name)(**stage.method.options)
    peak = PeakMemory(parallel.device)
    loaded = load_to_train(
        location(inputs[stage.model]), objective.head,
        labels=labels, pad_id=tokenizer.pad_id, seed=context.seed,
        dtype=None if hasattr(method, "quantization") else torch.float32,
    )  # fmt: skip
    check_vocabulary(loaded.model, tokenizer)
    if loaded.new:
        context.progress.note(f"new, with random weights: {', '.join(loaded.new)}")
    return Training(
        loaded, inputs[stage.model], labels, tokenizer, objective, method, corpus, stage.train, parallel,
        work, context, peak, merge=stage.merge,
    )()  # fmt: skip
