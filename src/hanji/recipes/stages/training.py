"""What the training stages share: data to a stream, a model to a policy, a run to a model directory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from hanji.artifacts.artifact import Artifact
from hanji.contracts.errors import ConfigError, DataError, ModelError
from hanji.contracts.protocols import Method, Objective
from hanji.data.stream import TrainingStream, held_out_batches
from hanji.data.token_store import TokenStore
from hanji.evaluation.likelihood import held_out_loss
from hanji.models.load import save_model
from hanji.models.policy import CausalPolicy
from hanji.recipes.context import Interrupted, StageContext
from hanji.recipes.fields import Mix
from hanji.recipes.stages.tokens import prepared, token_store
from hanji.recipes.train import TrainSettings
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.training.callbacks import Evaluate, Log, Save, Sink
from hanji.training.checkpoints import Checkpoints
from hanji.training.loop import Run, fit
from hanji.training.metrics_log import MetricsLog
from hanji.training.non_finite import NonFinite
from hanji.training.optimizers import build_optimizers
from hanji.training.parallel import Parallel
from hanji.training.schedules import schedule
from hanji.training.trackers import Trackers


@dataclass(frozen=True)
class Corpus:
    """The tokens that a stage learns from and is scored on.

    Attributes:
        training: one store for each part of the mixture. `weights`: their shares, or None for their sizes.
        held_out: the validation rows of each part that has some.
    """

    training: list[TokenStore]
    weights: list[float] | None
    held_out: list[TokenStore] = field(default_factory=list)


def load_corpus(
    mixture: tuple[Mix, ...],
    inputs: Mapping[str, Artifact | str],
    *,
    tokenizer: Tokenizer,
    tokenizer_digest: str,
    objective: Objective,
    settings: TrainSettings,
    parallel: Parallel,
    context: StageContext,
) -> Corpus:
    """Tokenises what is not yet tokenised, on rank 0 alone, and opens the stores.

    Raises:
        DataError: nothing to train on, or rows of another kind than the objective's.
    """

    def load() -> Corpus:
        return _load_corpus(mixture, inputs, tokenizer, tokenizer_digest, objective, settings, context)

    if parallel.world_size > 1:
        parallel.on_main(lambda: load() and None)
    return load()


def _load_corpus(
    mixture: tuple[Mix, ...],
    inputs: Mapping[str, Artifact | str],
    tokenizer: Tokenizer,
    tokenizer_digest: str,
    objective: Objective,
    settings: TrainSettings,
    context: StageContext,
) -> Corpus:
    stores: dict[str, list[TokenStore]] = {"train": [], "validation": []}
    for mix in mixture:
        data = prepared(inputs[mix.data])
        for split, found in stores.items():
            store = token_store(
                data, split, encoder=tokenizer, tokenizer_digest=tokenizer_digest, objective=objective,
                sequence_length=settings.sequence_length, overlong=settings.overlong, context=context,
            )  # fmt: skip
            if store is not None:
                found.append(store)
            elif split == "train":
                raise DataError("there are no rows to train on", where=mix.data)
    weights = [mix.weight for mix in mixture if mix.weight is not None]
    return Corpus(stores["train"], weights or None, stores["validation"])


def train(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    corpus: Corpus,
    *,
    objective: Objective,
    method: Method,
    settings: TrainSettings,
    parallel: Parallel,
    work: Path,
    context: StageContext,
) -> dict[str, Any]:
    """Trains `model` on `corpus` and writes its directory into `work`; goes on from a checkpoint found there.

    Returns:
        The metrics of the artifact.

    Raises:
        Interrupted: the run was asked to stop; a checkpoint is in `work`.
        ConfigError: settings that this model or this number of devices cannot serve.
    """
    _check_context(model, settings.sequence_length)
    torch.manual_seed(context.seed + parallel.rank)  # dropout: of the seed, and another on each rank
    if settings.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    policy = CausalPolicy(
        method.apply(model.to(parallel.device)), pad_id=tokenizer.pad_id,
        precision=_precision(settings, parallel.device), progress=context.progress,
    )  # fmt: skip
    sharded = parallel.world_size > 1
    parallel.shard(policy, policy.layers(), "bf16" if policy.precision else "fp32")
    if settings.compile:
        policy.model.base_model.compile(dynamic=True)
    stream = TrainingStream(
        corpus.training, corpus.weights, sequence_length=settings.sequence_length,
        batch_tokens=settings.batch_tokens, seed=context.seed,
        rank=parallel.rank, world_size=parallel.world_size,
    )  # fmt: skip
    steps = _steps(settings, stream)
    run = Run(
        policy=policy, objective=objective, rows=stream,
        optimizers=build_optimizers(
            policy, settings.optimizer, learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay, betas=settings.betas, sharded=sharded,
        ),
        schedule=schedule(
            settings.schedule, learning_rate=settings.learning_rate, steps=steps, warmup=settings.warmup,
            decay=settings.decay, minimum_ratio=settings.minimum_learning_rate_ratio,
        ),
        steps=steps, micro_batch_tokens=settings.micro_batch_tokens, max_grad_norm=settings.max_grad_norm,
        non_finite=NonFinite(work, settings.non_finite, parallel=parallel),
        parallel=parallel, stop=context.stop,
    )  # fmt: skip
    validation = _run_to_its_end(run, stream, corpus, settings, work, context)
    metrics = {
        "parameters": sum(p.numel() for p in policy.parameters()),
        "trained_parameters": sum(p.numel() for p in policy.parameters() if p.requires_grad),
        "steps": run.step,
        "tokens": run.tokens,
        "seconds": run.seconds,
        **validation,
    }
    _write_model(run, tokenizer, corpus, work)
    parallel.close()
    return metrics


def _run_to_its_end(
    run: Run,
    stream: TrainingStream,
    corpus: Corpus,
    settings: TrainSettings,
    work: Path,
    context: StageContext,
) -> dict[str, float]:
    """Resumes, trains, and returns the final validation scores."""
    checkpoints = Checkpoints(
        work / "checkpoints", keep_last=settings.keep_last, keep_best=settings.keep_best,
        parallel=run.parallel, progress=context.progress,
    )  # fmt: skip
    state = checkpoints.load_latest(run.policy, run.optimizers)
    if state is not None:
        run.step, run.tokens, run.seconds = state["step"], state["tokens"], state["seconds"]
        stream.load_state(state["stream"])
        run.non_finite.load_state(state["non_finite"])
        context.progress.note(f"resumed from step {run.step:,} of {run.steps:,}")
    tenth = max(1, math.ceil(run.steps / 10))
    sinks = _sinks(run, settings, work, context) if run.parallel.main else []
    evaluate = Evaluate(
        partial(_score, run, corpus, settings.micro_batch_tokens), sinks,
        tenth if settings.evaluate_every is None else settings.evaluate_every,
        latest=state["validation"] if state else {},
    ) if corpus.held_out else None  # fmt: skip
    save = Save(
        checkpoints, stream, evaluate,
        tenth if settings.checkpoint_every is None else settings.checkpoint_every, settings.keep_best,
    )  # fmt: skip
    log = Log(context.progress, sinks, settings.log_every)
    finished = fit(run, [log, *([evaluate] if evaluate else []), save])
    for sink in sinks:
        sink.close()
    if not finished:
        raise Interrupted(
            f"stopped after step {run.step:,} of {run.steps:,}; the same command goes on from there"
        )
    if settings.keep_best and (best := checkpoints.load_best(run.policy)) is not None:
        context.progress.note(f"the best step by validation loss is {best:,}; it is the one that is kept")
        return {f"validation_{name}": value for name, value in evaluate.score().items()} if evaluate else {}
    return evaluate.latest if evaluate else {}


def _sinks(run: Run, settings: TrainSettings, work: Path, context: StageContext) -> list[Sink]:
    recipe, _, stage = context.name.partition("/")
    trackers = Trackers(
        settings.trackers, project=recipe, run=stage, directory=work / "trackers",
        config=settings.model_dump(mode="json"),
    )  # fmt: skip
    return [MetricsLog(work / "metrics.jsonl", resumed_step=run.step), trackers]


def _score(run: Run, corpus: Corpus, micro_batch_tokens: int) -> dict[str, float]:
    """Scores of all held-out rows; every rank scores all of them, for all must run the model in step."""
    batches = (
        rows
        for store in corpus.held_out
        for rows in held_out_batches(store, micro_batch_tokens=micro_batch_tokens)
    )
    scores = held_out_loss(run.policy, run.objective, batches, run.policy.device)
    return {name: value for name, value in scores.items() if name != "tokens"}


def _write_model(run: Run, tokenizer: Tokenizer, corpus: Corpus, work: Path) -> None:
    state = run.parallel.gather_full_state(run.policy.model)
    if not run.parallel.main:
        return
    save_model(run.policy.model, work, state=state, generation=tokenizer.generation_settings())
    tokenizer.save(work)
    statistics = {
        "training": [store.statistics for store in corpus.training],
        "validation": [store.statistics for store in corpus.held_out],
    }
    (work / "data.json").write_text(json.dumps(statistics, indent=2, ensure_ascii=False), encoding="utf-8")


def _steps(settings: TrainSettings, stream: TrainingStream) -> int:
    if settings.steps is not None:
        return settings.steps
    if settings.epochs is not None:
        return stream.steps(settings.epochs)
    assert settings.tokens is not None, "the schema asks for one of tokens, epochs, steps"
    return stream.steps_for(settings.tokens)


def _precision(settings: TrainSettings, device: torch.device) -> torch.dtype | None:
    wanted = settings.precision
    if wanted == "auto":
        wanted = "bf16" if device.type == "cuda" else "fp32"
    return torch.bfloat16 if wanted == "bf16" else None


def _check_context(model: PreTrainedModel, sequence_length: int) -> None:
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and sequence_length > longest:
        raise ConfigError(
            "rows are longer than the model can read",
            where="train.sequence_length",
            value=sequence_length,
            expected=f"at most {longest}, the model's max_position_embeddings",
        )


def check_vocabulary(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Refuses a tokenizer whose ids the model has no embedding for.

    Raises:
        ModelError: the vocabulary is larger than the embedding.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.vocabulary_size > rows:
        raise ModelError(
            "the tokenizer has more tokens than the model has embeddings",
            where="tokenizer",
            value=tokenizer.vocabulary_size,
            expected=f"at most {rows}",
            hint="use the model's own tokenizer (leave the field out)",
        )
