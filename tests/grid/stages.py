"""Runs one cell of the grid as a stage, and keeps what it worked with to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from grid.cells import LEARNING_RATES, OTHER_LEARNING_RATE, Cell, load_objective, shape
from grid.material import Material
from grid.plain import Row
from hanji.artifacts.workspace import Workspace
from hanji.contracts.batch import Batch
from hanji.data.token_store import TokenStore
from hanji.evaluation.held_out import evaluating, held_out_scores
from hanji.models.policies import CausalPolicy, ClassificationPolicy, ModelPolicy
from hanji.recipes.context import StageContext
from hanji.recipes.schema import FinetuneStage, PretrainStage
from hanji.recipes.stages import finetune, pretrain, training
from hanji.recipes.stages.training import Training
from hanji.training.callbacks import Callback
from hanji.training.loop import Run, StepReport, fit

STEPS = 8
SEQUENCE_LENGTH = 96


@dataclass
class Seen:
    """What one run of a cell showed.

    Attributes:
        work: the directory that it left.
        stop_after: a step after which it is asked to stop.
        before, after: mean loss over all rows. `losses`: of the steps.
        base: the parameters of the model as it was loaded, and what they were; `drifted`: those frozen ones
            that were found changed between two steps.
    """

    cell: Cell
    work: Path
    context: StageContext
    stop_after: int | None = None
    before: float = 0.0
    after: float = 0.0
    losses: list[float] = field(default_factory=list)
    base: dict[str, tuple[nn.Parameter, Tensor]] = field(default_factory=dict)
    drifted: set[str] = field(default_factory=set)

    def training(self, *arguments: Any, **options: Any) -> Training:
        """Stands for the class: keeps what it makes, before the method is applied."""
        self.stage = Training(*arguments, **options)
        named = self.stage.loaded.model.named_parameters()
        self.base = {name: (parameter, parameter.detach().clone()) for name, parameter in named}
        return self.stage

    def fit(self, run: Run, callbacks: Sequence[Callback]) -> bool:
        """Stands for the loop: the same, with the loss before and after."""
        self.policy: ModelPolicy = run.policy
        self.before = self.score()
        finished = fit(run, [self.step, *callbacks])
        self.after = self.score()
        return finished

    def step(self, run: Run, report: StepReport) -> None:
        """A callback of the loop."""
        self.losses.append(report.loss)
        self.drifted |= set(self.frozen()) & set(self.changed())
        if run.step == self.stop_after:
            self.context.stop.set()

    def score(self) -> float:
        """Mean loss over all rows."""
        rows = iter([self.store.take(np.arange(len(self.store)))])
        return held_out_scores(self.policy, self.stage.objective, rows, "cpu")["loss"]

    def frozen(self) -> list[str]:
        """Parameters of the loaded model that do not learn."""
        return [name for name, (parameter, _) in self.base.items() if not parameter.requires_grad]

    def changed(self) -> list[str]:
        """Parameters of the loaded model that are not as they were, to the bit."""
        return [name for name, (parameter, was) in self.base.items() if not torch.equal(parameter, was)]

    @property
    def store(self) -> TokenStore:
        return self.stage.corpus.training[0]

    @property
    def batch(self) -> Batch:
        """All rows."""
        return self.first(len(self.store))

    def first(self, rows: int) -> Batch:
        """As many rows."""
        return self.stage.objective.collate(self.store.take(np.arange(rows)))

    def documents(self, batch: Batch) -> list[Row]:
        """The ids of each document, with token types where the model is told them."""
        told = self.policy.complete(batch).segments is not None
        has_types = getattr(self.policy.model.config, "type_vocab_size", 0) > 1
        parts = [batch.input_ids.split(batch.lengths)]
        if told and has_types and batch.segments is not None:
            parts.append(batch.segments.split(batch.lengths))
        return [
            (ids.tolist(), *(types.tolist() for types in rest)) for ids, *rest in zip(*parts, strict=True)
        ]

    @property
    def outputs_wanted(self) -> int | None:
        """How many numbers a classification head gives."""
        return None if self.stage.labels is None else self.stage.labels.outputs


def run(
    cell: Cell, material: Material, work: Path, *, stop_after: int | None = None, merge: bool = False
) -> Seen:
    """Runs the stage, from what an earlier attempt left in `work`.

    Raises:
        HanjiError: whatever the stage refuses; `Interrupted` where it was stopped.
    """
    workspace = Workspace(material.root / "runs")
    context = StageContext(f"grid/{cell}", seed=0, device="cpu", workspace=workspace, cache=workspace.cache)
    seen = Seen(cell, work, context, stop_after)
    work.mkdir(parents=True, exist_ok=True)
    stage = settings(cell, material, merge=merge)
    maker: Any = finetune if cell.method else pretrain
    inputs = {reference: reference for _, reference in stage.references()}
    with patch.object(maker, "Training", seen.training), patch.object(training, "fit", seen.fit):
        maker.make(stage, inputs, work, context)
    return seen


def settings(cell: Cell, material: Material, *, merge: bool = False) -> FinetuneStage | PretrainStage:
    """The stage, as a recipe would say it."""
    shared: dict[str, Any] = {
        "data": str(material.data[load_objective(cell.objective).rows]),
        "objective": cell.objective,
        "train": {
            "steps": STEPS, "learning_rate": LEARNING_RATES.get(cell.method or "full", OTHER_LEARNING_RATE),
            "schedule": "constant", "warmup": 0, "sequence_length": SEQUENCE_LENGTH,
            "batch_tokens": 10 * SEQUENCE_LENGTH, "checkpoint_every": 0, "log_every": 1,
        },
    }  # fmt: skip
    if cell.method is None:
        tokenizer = str(material.tokenizer(cell.family))
        return PretrainStage.model_validate({"model": shape(cell.family), "tokenizer": tokenizer, **shared})
    method = {"name": cell.method, **cell.options}
    base = str(material.base(cell.family))
    return FinetuneStage.model_validate({"model": base, "method": method, "merge": merge, **shared})


def outputs(policy: ModelPolicy, batch: Batch) -> Tensor:
    """All that the model gives for the documents: logits of all tokens, scores, relations."""
    with evaluating(policy), torch.no_grad():
        return policy.whole(policy.complete(batch))


def said(policy: ModelPolicy, batch: Batch) -> Tensor:
    """All that an objective can ask of the policy, as far as its head has it, end to end."""
    with evaluating(policy), torch.no_grad():
        if isinstance(policy, CausalPolicy):
            return policy.token_log_probabilities(batch)
        if isinstance(policy, ClassificationPolicy):
            return policy.document_scores(batch).flatten()
        found = policy.negative_log_likelihood(batch)
        return torch.cat([value.flatten() for name, value in sorted(found.items()) if name != "correct"])
