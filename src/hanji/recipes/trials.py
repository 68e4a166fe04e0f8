"""A comparison becomes stages: each way to adapt the model is a `finetune` stage like any other.

So a comparison is planned, skipped, resumed and forced as everything else is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from hanji.contracts.errors import ConfigError
from hanji.recipes.document import Place
from hanji.recipes.fields import MethodSettings, Trial
from hanji.recipes.schema import (
    ComparedStage,
    CompareStage,
    FinetuneStage,
    PrepareStage,
    Recipe,
    Split,
    Stage,
)

FACTORS: Final[Mapping[str, tuple[float, float]]] = {
    "adapter": (10, 5e-3),
    "lora": (10, 5e-3),
    "qlora": (10, 5e-3),
    "prompt": (100, 5e-2),
}
"""Method → how many times the rate of full fine-tuning it learns at, and up to which rate that raises it. Few
parameters that begin as nothing want larger steps: one rate for all would decide the comparison."""
COMPARED: Final = Split(validation=0.05, test=0.2)
"""How a source is split that stands in a comparison itself: the intervals are as narrow as the test rows are
many."""


def learning_rate(trial: Trial, rate: float) -> float:
    """The highest learning rate of a way, where full fine-tuning has `rate`."""
    if trial.learning_rate is not None:
        return trial.learning_rate
    factor, most = FACTORS.get(trial.name, (1, rate))
    return max(rate, min(rate * factor, most))


def names(comparison: str, stage: CompareStage) -> tuple[str, ...]:
    """What the stages of the ways are called: `<comparison>-lora`, and `<comparison>-lora-2` for a second."""
    found: list[str] = []
    for number, trial in enumerate(stage.ways):
        before = sum(other.name == trial.name for other in stage.ways[:number])
        found.append(f"{comparison}-{trial.name}" + (f"-{before + 1}" if before else ""))
    return tuple(found)


def trials(comparison: str, stage: CompareStage) -> dict[str, FinetuneStage]:
    """The ways as stages, by name."""
    return {
        name: FinetuneStage(
            model=stage.model,
            data=stage.data,
            objective=stage.objective,
            method=MethodSettings.model_validate({"name": trial.name, **trial.options}),
            tokenizer=stage.tokenizer,
            train=stage.train.model_copy(
                update={"learning_rate": learning_rate(trial, stage.train.learning_rate)}
            ),
        )
        for name, trial in zip(names(comparison, stage), stage.ways, strict=True)
    }


def compared(comparison: str, stage: CompareStage) -> ComparedStage:
    """The comparison itself, which needs the ways and no longer what they are made from."""
    content: dict[str, Any] = {name: getattr(stage, name) for name in CompareStage.model_fields}
    return ComparedStage(**content, trials=names(comparison, stage))


def with_trials(recipe: Recipe, where: Callable[[Place], str]) -> Recipe:
    """The recipe with every comparison's ways among its stages, so that others may name them too.

    Raises:
        ConfigError: a stage is called as one of the ways; data that keeps no rows to compare on.
    """
    stages: dict[str, Stage] = {}
    for name, stage in recipe.stages.items():
        if isinstance(stage, CompareStage):
            made = trials(name, stage)
            for clash in made.keys() & recipe.stages.keys():
                raise ConfigError(
                    f"One of the ways that {name} compares would be called {clash}, but so is a stage",
                    where=where(("stages", clash)),
                    hint=f"rename the stage {clash}",
                )
            _check_rows(stage, recipe, where(("stages", name, "data")))
            stages |= made
        stages[name] = stage
    return recipe.model_copy(update={"stages": stages})


def comparing(recipe: Recipe, stage: str) -> tuple[Recipe, str]:
    """The recipe with a comparison of every method in the place of one: on the task of a `finetune` stage.

    The stage's own method keeps its options and its learning rate, from which the others' follow.

    Returns:
        The recipe, and the name of the new stage.
    """
    given = recipe.stages[stage]
    assert isinstance(given, FinetuneStage)
    factor, _ = FACTORS.get(given.method.name, (1, 0))
    own = given.train.learning_rate
    own_way = {"name": given.method.name, "learning_rate": own, **given.method.options}
    everyone = [way.name for way in CompareStage(model=given.model, data=given.data).ways]
    if given.method.name not in everyone:
        everyone.append(given.method.name)
    comparison = CompareStage.model_validate(
        {
            "model": given.model,
            "data": given.data,
            "objective": given.objective,
            "methods": [own_way if name == given.method.name else name for name in everyone],
            "tokenizer": given.tokenizer,
            "train": given.train.model_copy(update={"learning_rate": own / factor}),
        }
    )
    name = f"compare-{stage}"
    while name in recipe.stages:
        name += "-methods"
    return recipe.model_copy(update={"stages": {**recipe.stages, name: comparison}}), name


def _check_rows(stage: CompareStage, recipe: Recipe, where: str) -> None:
    """Refuses data of this recipe that is prepared without held-out rows, before hours of training."""
    sources = [recipe.stages.get(mix.data) for mix in stage.data]
    held_out = [
        not isinstance(source, PrepareStage) or source.split.test or source.split.validation
        for source in sources
    ]
    if not any(held_out):
        raise ConfigError(
            "The data keeps no rows back, on which the ways could be compared",
            where=where,
            value=", ".join(mix.data for mix in stage.data),
            hint=f"{stage.data[0].data}: split: {{validation: 0.1, test: 0.1}}",
        )
