"""What the training stages share: model, objective and method become a run, and its result a directory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedModel

from hanji.artifacts.artifact import Artifact
from hanji.contracts.errors import ConfigError, ModelError
from hanji.contracts.labels import Labels
from hanji.contracts.modes import evaluating
from hanji.contracts.protocols import AddingMethod, ComparesWithReference, Method, Objective
from hanji.data.stream import TrainingStream, batches_of, held_out_batches
from hanji.evaluation.held_out import held_out_scores
from hanji.methods.quantised import parameter_count
from hanji.models.load import Loaded
from hanji.models.policies import ModelPolicy, policy_for
from hanji.recipes.context import Interrupted, StageContext
from hanji.recipes.stages.corpus import Corpus
from hanji.recipes.stages.model_files import Origin, write_model, write_statistics
from hanji.recipes.train import TrainSettings
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.training.callbacks import Advance, Callback, Evaluate, Log, Save, Sink
from hanji.training.checkpoints import Checkpoints
from hanji.training.loop import Run, fit
from hanji.training.metrics_log import MetricsLog
from hanji.training.non_finite import NonFinite
from hanji.training.optimizers import build_optimizers
from hanji.training.parallel import Parallel
from hanji.training.peak_memory import PeakMemory
from hanji.training.schedules import schedule
from hanji.training.trackers import Trackers


@dataclass(frozen=True)
class Training:
    """One training stage at work.

    Attributes:
        loaded: the model as it begins. `source`: where it came from; None for a blank one.
        labels: of its classification head.
        work: the directory that becomes the artifact.
        peak: watches memory since before the model was loaded.
        merge: makes a whole model of what the method added.
    """

    loaded: Loaded
    source: Artifact | str | None
    labels: Labels | None
    tokenizer: Tokenizer
    objective: Objective
    method: Method
    corpus: Corpus
    settings: TrainSettings
    parallel: Parallel
    work: Path
    context: StageContext
    peak: PeakMemory
    merge: bool = False

    def __call__(self) -> dict[str, Any]:
        """Trains, and writes the model's directory into `work`; goes on from a checkpoint found there.

        Returns:
            The metrics of the artifact.

        Raises:
            Interrupted: the run was asked to stop; a checkpoint is in `work`.
            ConfigError: settings that this model or this number of devices cannot serve.
        """
        origin = self._origin()
        policy = self._policy()
        stream = TrainingStream(
            self.corpus.training, self.corpus.weights, sequence_length=self.settings.sequence_length,
            batch_tokens=self.settings.batch_tokens, seed=self.context.seed,
            rank=self.parallel.rank, world_size=self.parallel.world_size,
        )  # fmt: skip
        run = self._run(policy, stream)
        validation = self._to_its_end(run, stream)
        metrics = {
            "parameters": parameter_count(policy),
            "trained_parameters": sum(p.numel() for p in policy.parameters() if p.requires_grad),
            "steps": run.step,
            "tokens": run.tokens,
            "seconds": run.seconds,
            "peak_memory_bytes": self.peak.grown_bytes(),
            **validation,
        }
        state = self.parallel.gather_full_state(policy.model)
        if self.parallel.main:
            write_model(
                policy.model, self.work, tokenizer=self.tokenizer, method=self.method, origin=origin,
                merge=self.merge, state=state,
            )  # fmt: skip
            write_statistics(self.corpus, self.work)
        self.parallel.close()
        return metrics

    def _origin(self) -> Origin | None:
        """Of a method that adds: what it adds to, told before anything is added."""
        if not self.method.adds:
            return None
        assert self.source is not None, "a blank model is trained whole"
        return Origin.of(
            self.source, self.loaded.model, self.work, tokenizer=self.tokenizer, head=self.objective.head,
            new=self.loaded.new, labels=self.labels,
        )  # fmt: skip

    def _policy(self) -> ModelPolicy:
        """The model with its method applied, where it computes, sharded over the ranks."""
        settings, parallel = self.settings, self.parallel
        _check_context(self.loaded.model, settings.sequence_length)
        torch.manual_seed(self.context.seed)  # what a method draws is the same on each rank
        if settings.activation_checkpointing:
            self.loaded.model.activation_checkpointing_enable({"use_reentrant": False})
        model = cast(
            "PreTrainedModel",
            self.method.apply(self.loaded.model, new=self.loaded.new, encoder=self.tokenizer),
        )
        virtual = len(getattr(model.get_input_embeddings(), "virtual_ids", ()))
        _check_context(model, settings.sequence_length + virtual)
        policy = policy_for(
            self.objective.head, model.to(parallel.device), pad_id=self.tokenizer.pad_id,
            precision=_precision(settings, parallel.device), progress=self.context.progress,
            switch_off=self._switch_off(model),
        )  # fmt: skip
        torch.manual_seed(self.context.seed + parallel.rank)  # dropout: another on each rank
        parallel.shard(policy, policy.layers(), "bf16" if policy.precision else "fp32")
        if settings.compile:
            policy.model.base_model.compile(dynamic=True)
        return policy

    def _switch_off(self, model: Any) -> Callable[[], AbstractContextManager[None]] | None:
        return partial(cast("AddingMethod", self.method).switched_off, model) if self.method.adds else None

    def _run(self, policy: ModelPolicy, stream: TrainingStream) -> Run:
        settings = self.settings
        steps = _steps(settings, stream)
        return Run(
            policy=policy, objective=self.objective, rows=stream,
            optimizers=build_optimizers(
                policy, settings.optimizer, learning_rate=settings.learning_rate,
                weight_decay=settings.weight_decay, betas=settings.betas,
                sharded=self.parallel.world_size > 1,
            ),
            schedule=schedule(
                settings.schedule, learning_rate=settings.learning_rate, steps=steps, warmup=settings.warmup,
                decay=settings.decay, minimum_ratio=settings.minimum_learning_rate_ratio,
            ),
            steps=steps, micro_batch_tokens=settings.micro_batch_tokens,
            max_grad_norm=settings.max_grad_norm,
            non_finite=NonFinite(self.work, settings.non_finite, parallel=self.parallel),
            parallel=self.parallel, stop=self.context.stop,
        )  # fmt: skip

    def _to_its_end(self, run: Run, stream: TrainingStream) -> dict[str, float]:
        """Resumes, trains, and returns the final validation scores."""
        settings, context = self.settings, self.context
        checkpoints = Checkpoints(
            self.work / "checkpoints", keep_last=settings.keep_last, keep_best=settings.keep_best,
            parallel=run.parallel, progress=context.progress,
        )  # fmt: skip
        if self.objective.reference and not self.method.adds:
            self._add_reference(run.policy, checkpoints.directory)
        state = checkpoints.load_latest(run.policy, run.optimizers)
        if state is not None:
            run.step, run.tokens, run.seconds = state["step"], state["tokens"], state["seconds"]
            stream.load_state(state["stream"])
            run.non_finite.load_state(state["non_finite"])
            context.progress.note(f"resumed from step {run.step:,} of {run.steps:,}")
        sinks = self._sinks(run) if run.parallel.main else []
        evaluate, callbacks = self._callbacks(run, stream, checkpoints, sinks, state)
        finished = fit(run, callbacks)
        for sink in sinks:
            sink.close()
        if not finished:
            raise Interrupted(
                f"stopped after step {run.step:,} of {run.steps:,}; the same command goes on from there"
            )
        if settings.keep_best and (best := checkpoints.load_best(run.policy)) is not None:
            context.progress.note(f"the best step by validation loss is {best:,}; it is the one that is kept")
            return (
                {f"validation_{name}": value for name, value in evaluate.score().items()} if evaluate else {}
            )
        return evaluate.latest if evaluate else {}

    def _callbacks(
        self,
        run: Run,
        stream: TrainingStream,
        checkpoints: Checkpoints,
        sinks: list[Sink],
        state: Mapping[str, Any] | None,
    ) -> tuple[Evaluate | None, list[Callback]]:
        settings = self.settings
        tenth = max(1, math.ceil(run.steps / 10))
        evaluate = Evaluate(
            partial(self._score, run), sinks,
            tenth if settings.evaluate_every is None else settings.evaluate_every,
            latest=state["validation"] if state else {},
        ) if self.corpus.held_out else None  # fmt: skip
        save = Save(
            checkpoints, stream, evaluate,
            tenth if settings.checkpoint_every is None else settings.checkpoint_every, settings.keep_best,
        )  # fmt: skip
        log = Log(self.context.progress, sinks, settings.log_every)
        advance = Advance(self.method, run)
        return evaluate, [log, *([evaluate] if evaluate else []), save, advance, self.peak]

    def _sinks(self, run: Run) -> list[Sink]:
        recipe, _, stage = self.context.name.partition("/")
        trackers = Trackers(
            self.settings.trackers, project=recipe, run=stage, directory=self.work / "trackers",
            config=self.settings.model_dump(mode="json"),
        )  # fmt: skip
        return [MetricsLog(self.work / "metrics.jsonl", resumed_step=run.step), trackers]

    def _score(self, run: Run) -> dict[str, float]:
        """Scores of all held-out rows; every rank scores all of them, for all must run the model in step."""
        batches = (
            rows
            for store in self.corpus.held_out
            for rows in held_out_batches(store, micro_batch_tokens=self.settings.micro_batch_tokens)
        )
        scores = held_out_scores(run.policy, run.objective, batches, run.policy.device)
        return {name: value for name, value in scores.items() if name not in ("tokens", "rows")}

    def _add_reference(self, policy: ModelPolicy, directory: Path) -> None:
        """Gives every row what the objective must know of the model as it is now; kept for a resumed run."""
        objective = cast("ComparesWithReference", self.objective)
        for number, store in enumerate(self.corpus.stores):
            place = directory / f"reference-{number}.npy"
            if not place.is_file():
                found: dict[int, np.ndarray[Any, Any]] = {}
                with evaluating(policy):
                    for rows in batches_of(store, self.settings.micro_batch_tokens):
                        batch = self.objective.collate(store.take(rows)).to(policy.device)
                        values = objective.reference_values(policy, batch).cpu().numpy()
                        found.update(zip(rows.tolist(), values, strict=True))
                        self.context.progress.advance("reference", len(found), len(store))
                ordered = np.stack([found[row] for row in range(len(store))]).astype(np.float64)
                if self.parallel.main:
                    np.save(place.with_suffix(".partial.npy"), ordered)
                    place.with_suffix(".partial.npy").rename(place)
                self.parallel.barrier()
            store.add_targets(np.load(place))


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


def _check_context(model: PreTrainedModel, longest_row: int) -> None:
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and longest_row > context:
        raise ConfigError(
            "rows are longer than the model can read",
            where="train.sequence_length",
            value=longest_row,
            expected=f"at most {context}, the model's max_position_embeddings, virtual tokens included",
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
