"""What the names in a recipe mean: other stages, artifacts, paths, hub ids; checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from glob import glob
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Final

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.workspace import Workspace
from hanji.contracts.errors import ConfigError, nearest
from hanji.models.presets import PRESETS, named_presets
from hanji.recipes.document import Place, dotted
from hanji.recipes.fields import Mix
from hanji.recipes.schema import STAGES, CompareStage, PrepareStage, PretrainStage, Product, Recipe, Stage
from hanji.recipes.trials import COMPARED, compared, names, trials, with_trials

PREPARED: Final = "statistics.json"
"""A directory with this file holds prepared data."""
WITHOUT_A_FILE: Final = ("python-docs", "python-questions")
_HUB_ID: Final = re.compile(r"[\w.\-]+/[\w.\-]+")
_FILE_SUFFIX: Final = re.compile(
    r"\.(txt|md|json|jsonl|csv|tsv|parquet|arrow|gz|zst|gguf|ya?ml)$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Linked:
    """A recipe whose every name is known to mean something.

    Attributes:
        recipe: with a `prepare` stage of its own for every source that stood where prepared data is wanted,
            and a `finetune` stage for every way that is compared.
        order: the stages, each after those it needs.
        parents: stage → the stages it needs.
        given: name → what it means outside of the recipe: an artifact, or the name itself.
    """

    recipe: Recipe
    order: tuple[str, ...]
    parents: Mapping[str, tuple[str, ...]]
    given: Mapping[str, Artifact | str]

    def needed_for(self, stages: tuple[str, ...]) -> tuple[str, ...]:
        """`stages` and all that they need, in order."""
        wanted: set[str] = set()
        waiting = list(stages)
        while waiting:
            name = waiting.pop()
            if name not in wanted:
                wanted.add(name)
                waiting.extend(self.parents[name])
        return tuple(name for name in self.order if name in wanted)


def link(recipe: Recipe, workspace: Workspace, where: Callable[[Place], str] = dotted) -> Linked:
    """Finds what every name means.

    Args:
        recipe: whose names.
        workspace: where artifacts of other recipes are looked up.
        where: tells file and line of a place, for messages (`Document.where`).

    Raises:
        ConfigError: a name that means nothing, or the wrong thing; stages that need each other in a circle.
    """
    recipe = with_trials(recipe, where)
    compares = {name: stage for name, stage in recipe.stages.items() if isinstance(stage, CompareStage)}
    of_comparisons = {trial for name, stage in compares.items() for trial in names(name, stage)}
    stages: dict[str, Stage] = {}
    given: dict[str, Artifact | str] = {}
    for name, stage in recipe.stages.items():
        if name in of_comparisons:
            continue  # made with its comparison, whose names are its own
        made: dict[str, PrepareStage] = {}
        for place, reference in stage.references():
            use = _Use(recipe, reference, stage.wants[str(place[0])], where(("stages", name, *place)))
            if reference in recipe.stages:
                use.check(recipe.stages[reference].makes)
                continue
            meaning = _outside(use, workspace)
            if isinstance(meaning, PrepareStage):
                split = COMPARED if isinstance(stage, CompareStage) else meaning.split
                made.setdefault(reference, meaning.model_copy(update={"split": split}))
            else:
                given[reference] = meaning
        if isinstance(stage, PretrainStage):
            _check_blank_model(stage, where(("stages", name, "model")))
        prepared = _names_of_made(name, list(made), recipe, where(("stages", name)))
        stages |= {prepared[reference]: prepare for reference, prepare in made.items()}
        stage = _with_data(stage, prepared) if prepared else stage
        if isinstance(stage, CompareStage):
            stages |= trials(name, stage)
            stage = compared(name, stage)
        stages[name] = stage
    parents = {
        name: tuple(dict.fromkeys(reference for _, reference in stage.references() if reference in stages))
        for name, stage in stages.items()
    }
    return Linked(recipe.model_copy(update={"stages": stages}), _order(parents), parents, given)


def _check_blank_model(stage: PretrainStage, where: str) -> None:
    model = stage.model
    if isinstance(model, str) and model not in PRESETS and not Path(model).expanduser().exists():
        near = nearest(model, PRESETS)
        raise ConfigError(
            "There is no such preset, and no such file",
            where=where,
            value=model,
            expected=f"{named_presets()}, the path of a config.json, or a mapping with model_type",
            hint=f"did you mean {near}?" if near else "hanji models tells of the presets",
        )


@dataclass(frozen=True, slots=True)
class _Use:
    """One place in a recipe that names something."""

    recipe: Recipe
    reference: str
    wanted: tuple[Product, ...]
    where: str

    @property
    def wanted_words(self) -> str:
        return " or ".join(map(_a, self.wanted))

    @property
    def expected(self) -> str:
        names = [name for name, stage in self.recipe.stages.items() if stage.makes in self.wanted]
        return f"a stage that makes {self.wanted_words}" + (f" ({', '.join(names)})" if names else "")

    def check(self, made: Product) -> None:
        if made not in self.wanted:
            raise ConfigError(
                f"{self.reference} is {_a(made)}, but {self.wanted_words} is wanted here",
                where=self.where,
                value=self.reference,
                expected=self.expected,
            )


def _outside(use: _Use, workspace: Workspace) -> Artifact | str | PrepareStage:
    artifact = workspace.lookup(use.reference)
    if artifact is not None:
        use.check(STAGES[artifact.kind].makes)
        return artifact
    path = Path(use.reference).expanduser()
    if use.wanted == ("data",):
        if (path / PREPARED).is_file():
            return str(path)
        if use.reference in WITHOUT_A_FILE or _is_source(use.reference, path, workspace):
            return PrepareStage.model_validate({"kind": "prepare", "source": use.reference})
    elif path.exists() or _is_hub_id(use.reference, workspace):
        return use.reference
    made = workspace.names()
    near = nearest(use.reference, [*use.recipe.stages, *made, *(name.partition("/")[2] for name in made)])
    raise ConfigError(
        f"Nothing is called {use.reference}",
        where=use.where,
        value=use.reference,
        expected=f"{use.expected}, a path that exists, or a hub id (owner/name)",
        hint=f"did you mean {near}?" if near else None,
    )


def _is_source(reference: str, path: Path, workspace: Workspace) -> bool:
    return "://" in reference or path.exists() or _is_glob(path) or _is_hub_id(reference, workspace)


def _is_glob(path: Path) -> bool:
    return bool(glob(str(path)))  # noqa: PTH207 - Path.glob takes no absolute pattern


def _is_hub_id(reference: str, workspace: Workspace) -> bool:
    """`owner/name`, where no recipe of ours is called like the owner and it ends like no file."""
    if not _HUB_ID.fullmatch(reference) or _FILE_SUFFIX.search(reference):
        return False
    return not (workspace.root / reference.partition("/")[0]).is_dir()


def _names_of_made(stage: str, references: list[str], recipe: Recipe, where: str) -> dict[str, str]:
    """`chat-data` for the one source that stands in the stage `chat`; `chat-data-2` for a second."""
    names = {
        reference: f"{stage}-data" + (f"-{number}" if number > 1 else "")
        for number, reference in enumerate(references, start=1)
    }
    for name in names.values():
        if name in recipe.stages:
            raise ConfigError(
                f"{stage} is given a source, whose prepared data would be called {name}, but so is a stage",
                where=where,
                hint=f"rename the stage {name}, or prepare the source in a stage of its own",
            )
    return names


def _with_data(stage: Stage, names: Mapping[str, str]) -> Stage:
    """The stage with sources replaced by the stages that prepare them."""
    data: Any = getattr(stage, "data")  # noqa: B009 - not every kind has it
    if isinstance(data, str):
        return stage.model_copy(update={"data": names.get(data, data)})
    mixture = tuple(Mix(data=names.get(mix.data, mix.data), weight=mix.weight) for mix in data)
    return stage.model_copy(update={"data": mixture})


def _order(parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    try:
        return tuple(TopologicalSorter(parents).static_order())
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise ConfigError("The stages need each other in a circle", value=circle) from error


def _a(product: Product) -> str:
    return product if product == "data" else f"a {product}"
