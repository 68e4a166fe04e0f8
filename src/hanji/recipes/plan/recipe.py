"""The plans of all training stages of a recipe, before any of them is made: no weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PretrainedConfig

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.models import config_of
from hanji.artifacts.workspace import Workspace
from hanji.contracts.labels import Labels
from hanji.contracts.progress import Progress, Silent
from hanji.contracts.protocols import Method, Objective
from hanji.methods import METHODS
from hanji.models.presets import preset_config
from hanji.recipes.link import Linked
from hanji.recipes.plan.calibration import Calibration
from hanji.recipes.plan.check import what_would_fit
from hanji.recipes.plan.estimate import StagePlan, plan_training
from hanji.recipes.plan.rows import LearningRows, mixed
from hanji.recipes.plan.trace import Learning
from hanji.recipes.schema import FinetuneStage, PretrainStage, Stage, TokenizerStage
from hanji.recipes.stages.objectives import bind, check_rows, make_objective
from hanji.recipes.train import TrainSettings
from hanji.tokenizers.tokenizer import Tokenizer

Training = PretrainStage | FinetuneStage


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer, or what is known of one that does not exist yet."""

    size: int
    tokenizer: Tokenizer | None
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecipePlanner:
    """Plans the training stages of a recipe.

    Attributes:
        linked: the recipe, its names resolved.
        workspace: where what is already made is found.
        device: `cpu`, `cuda` or `mps`, chosen.
        calibration: of the device; without one, no time is told.
    """

    linked: Linked
    workspace: Workspace
    device: str
    calibration: Calibration | None = None
    progress: Progress = field(default_factory=Silent)

    def plans(self) -> list[StagePlan]:
        """One for each training stage, in the order of the recipe's work."""
        stages = self.linked.recipe.stages
        training = [name for name in self.linked.order if isinstance(stages[name], Training)]
        found = []
        for number, name in enumerate(training):
            self.progress.advance(f"planning {name}", number, len(training))
            found.append(self.plan(name))
        return found

    def plan(self, name: str) -> StagePlan:
        """The plan of the training stage `name`."""
        stage = self.linked.recipe.stages[name]
        assert isinstance(stage, Training)
        vocabulary = self._vocabulary(_tokenizer_of(stage))
        config, model = self._config(stage), _model_name(stage)
        objective = make_objective(stage.objective)
        rows, labels = self._rows(stage, objective, vocabulary)
        learning = Learning.of(objective, _method(stage), labels, vocabulary.tokenizer)
        rows = replace(rows, assumed=vocabulary.assumed + rows.assumed)

        def plan(config: PretrainedConfig, settings: TrainSettings) -> StagePlan:
            return plan_training(
                config, settings, rows, name=name, model=model, device=self.device,
                calibration=self.calibration, learning=learning,
            )  # fmt: skip

        found = plan(config, stage.train)
        if found.fits:
            return found
        ways = what_would_fit(config, stage.train, rows, model=model, room=found.available_bytes, replan=plan)
        return replace(found, would_fit=tuple(ways))

    def _meaning(self, reference: str) -> Artifact | str | Stage:
        """What is there already under a name; the stage itself, where it is still to be made."""
        stages = self.linked.recipe.stages
        if reference not in stages:
            return self.linked.given[reference]
        artifact = self.workspace.current(self.linked.recipe.name, reference)
        if artifact is not None and artifact.record.config == stages[reference].model_dump(mode="json"):
            return artifact
        return stages[reference]

    def _vocabulary(self, reference: str) -> Vocabulary:
        meaning = self._meaning(reference)
        if isinstance(meaning, Artifact | str):
            tokenizer = Tokenizer.load(_location(meaning))
            return Vocabulary(tokenizer.vocabulary_size, tokenizer)
        if isinstance(meaning, TokenizerStage):
            if meaning.source is not None:
                return self._vocabulary(meaning.source)
            said = f"{reference} is not trained yet: it is taken to have {meaning.vocab_size:,} tokens"
            return Vocabulary(meaning.vocab_size, None, (said,))
        assert isinstance(meaning, Training), "links are checked before"
        return self._vocabulary(_tokenizer_of(meaning))

    def _config(self, stage: Training) -> PretrainedConfig:
        if isinstance(stage, PretrainStage):
            size = self._vocabulary(stage.tokenizer).size
            return preset_config(stage.model, vocab_size=size, overrides=stage.config)
        meaning = self._meaning(stage.model)
        if isinstance(meaning, Artifact | str):
            return config_of(_location(meaning))
        assert isinstance(meaning, Training), "links are checked before"
        return self._config(meaning)

    def _rows(
        self, stage: Training, objective: Objective, vocabulary: Vocabulary
    ) -> tuple[LearningRows, Labels | None]:
        """The rows, and their labels where the data is there to tell them."""
        length = stage.train.sequence_length
        made = {mix.data: self._meaning(mix.data) for mix in stage.data}
        there = {
            name: Path(_location(meaning))
            for name, meaning in made.items()
            if isinstance(meaning, Artifact | str)
        }
        check_rows(objective, there)
        labels: Labels | None = getattr(objective, "labels", None)
        if vocabulary.tokenizer is not None and len(there) == len(made):
            labels = bind(objective, vocabulary.tokenizer, length, there.values())
        parts = [self._part(mix.data, objective, vocabulary.tokenizer, length) for mix in stage.data]
        weights = [mix.weight for mix in stage.data if mix.weight is not None]
        return mixed(parts, weights or None), labels

    def _part(
        self, reference: str, objective: Objective, tokenizer: Tokenizer | None, sequence_length: int
    ) -> LearningRows:
        meaning = self._meaning(reference)
        if not isinstance(meaning, Artifact | str):
            return LearningRows.unknown(reference, sequence_length)
        directory = Path(_location(meaning))
        if tokenizer is None:
            return LearningRows.from_bytes(directory, reference, sequence_length)
        return LearningRows.sampled(directory, reference, tokenizer, objective, sequence_length)


def _tokenizer_of(stage: Training) -> str:
    return stage.tokenizer or stage.model if isinstance(stage, FinetuneStage) else stage.tokenizer


def _model_name(stage: Training) -> str:
    if isinstance(stage.model, str):
        return stage.model
    return str(stage.model.get("model_type"))


def _method(stage: Training) -> Method | None:
    if isinstance(stage, PretrainStage):
        return None
    method: Method = METHODS.load(stage.method.name)(**stage.method.options)
    return method


def _location(meaning: Artifact | str) -> str:
    return str(meaning.path) if isinstance(meaning, Artifact) else str(Path(meaning).expanduser())
