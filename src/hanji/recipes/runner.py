"""`run`: makes what is missing or stale, skips what is there, resumes what was cut off."""

from __future__ import annotations

import errno
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, Protocol

from hanji.artifacts.artifact import RECORD, Artifact, Record
from hanji.artifacts.workspace import PARTIAL, Making, Workspace
from hanji.contracts.errors import ConfigError, ResourceError, nearest
from hanji.contracts.progress import Progress, Silent
from hanji.recipes.context import Interrupted, StageContext
from hanji.recipes.device import choose_device
from hanji.recipes.fingerprint import Parents, parents_of, stage_fingerprint
from hanji.recipes.foresight import foresee
from hanji.recipes.link import Linked
from hanji.recipes.schema import ComparedStage, FinetuneStage, PretrainStage, Stage
from hanji.recipes.stages import MAKERS, RESUMED, WITHOUT_DEVICE
from hanji.recipes.stopping import Stopper

RECORDED_VERSIONS: Final = ("hanji", "torch", "transformers", "tokenizers", "numpy")
_FOLLOWER_WAIT_SECONDS: Final = 0.2


class Watcher(Protocol):
    """Whoever wants to know which stage is at hand."""

    def kept(self, artifact: Artifact) -> None:
        """The stage was made before and is up to date."""

    def begins(self, name: str, number: int, total: int, resumed: bool) -> None:
        """The stage is being made now, `number` of `total`."""

    def made(self, artifact: Artifact) -> None:
        """The stage is done."""


@dataclass(slots=True)
class Run:
    """One call of `run`.

    Attributes:
        linked: the recipe, checked.
        workspace: where artifacts are and go.
        force: stages to make anew, up to date or not.
        until: the last stage to make, with what it needs; None makes all.
        progress: is told how far each stage's work is.
        watcher: is told of the stages.
        stopper: tells the work to end.
    """

    linked: Linked
    workspace: Workspace
    force: Sequence[str] = ()
    until: str | None = None
    progress: Progress = field(default_factory=Silent)
    watcher: Watcher | None = None
    stopper: Stopper = field(default_factory=Stopper)

    def __call__(self) -> dict[str, Artifact]:
        """Makes what must be made; returns all artifacts by stage.

        Raises:
            ConfigError: `force` or `until` name no stage.
            Interrupted: a signal came; everything made so far stays.
            HanjiError: whatever a stage refuses.
        """
        for name in (*self.force, *([self.until] if self.until else [])):
            self._check_name(name)
        self._check_force()
        wanted = self.linked.needed_for((self.until,)) if self.until else self.linked.order
        artifacts: dict[str, Artifact] = {}
        with self.stopper.listening():
            self._foresee(wanted, artifacts)
            for number, name in enumerate(wanted, start=1):
                artifacts[name] = self._stage(name, (number, len(wanted)), artifacts)
                if self.linked.recipe.stages[name].makes == "data":
                    self._foresee(wanted, artifacts)
        return artifacts

    def _foresee(self, wanted: Sequence[str], artifacts: Mapping[str, Artifact]) -> None:
        """Checks stages that are still to be made against the rows that are known by now."""
        known = {**self.linked.given, **artifacts}
        for name in wanted:
            stage = self.linked.recipe.stages[name]
            if name not in artifacts and isinstance(stage, PretrainStage | FinetuneStage | ComparedStage):
                rows = {mix.data: known[mix.data] for mix in stage.data if mix.data in known}
                places = {
                    said: made.path if isinstance(made, Artifact) else Path(made)
                    for said, made in rows.items()
                }
                foresee(name, stage, places)

    def _stage(self, name: str, count: tuple[int, int], artifacts: Mapping[str, Artifact]) -> Artifact:
        recipe = self.linked.recipe
        stage = recipe.stages[name]
        names = dict.fromkeys(reference for _, reference in stage.references())
        inputs = {key: artifacts[key] if key in artifacts else self.linked.given[key] for key in names}
        parents = parents_of(stage, inputs, self.workspace)
        fingerprint = stage_fingerprint(stage, recipe.seed, parents)
        # A rank that follows asks for the place before it asks whether rank 0 has filled it meanwhile.
        target = self.workspace.next_directory(recipe.name, name, fingerprint)
        if name not in self.force and (found := self._up_to_date(name, fingerprint)):
            if self.watcher:
                self.watcher.kept(found)
            return found
        work = _Work(self, name, stage, inputs, parents, fingerprint)
        return work.follow(target) if rank() else work.make(count)

    def _up_to_date(self, name: str, fingerprint: str) -> Artifact | None:
        recipe = self.linked.recipe.name
        current = self.workspace.current(recipe, name)
        if current and current.record.fingerprint == fingerprint and not current.missing():
            return current
        found = self.workspace.find(recipe, name, fingerprint)  # made once, then set aside by other settings
        if found is None or found.missing():
            return None
        if not rank():
            self.workspace.use(found)
        return found

    def _check_force(self) -> None:
        """Several ranks cannot tell a stage made anew by rank 0 from an old one, unless they all train it."""
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        alone = [name for name in self.force if self.linked.recipe.stages[name].kind not in RESUMED]
        if several and alone:
            raise ConfigError(
                "Under torchrun only training stages can be forced",
                where="--force",
                value=", ".join(alone),
                hint=f"first, in one process: hanji run RECIPE --force {alone[0]} --until {alone[0]}",
            )

    def _check_name(self, name: str) -> None:
        stages = self.linked.recipe.stages
        if name not in stages:
            near = nearest(name, stages)
            raise ConfigError(
                "There is no such stage",
                where=self.linked.recipe.name,
                value=name,
                expected=", ".join(stages),
                hint=f"did you mean {near}?" if near else None,
            )


@dataclass(frozen=True, slots=True)
class _Work:
    """The making of one stage."""

    run: Run
    name: str
    stage: Stage
    inputs: Mapping[str, Artifact | str]
    parents: Parents
    fingerprint: str

    def make(self, count: tuple[int, int]) -> Artifact:
        """Makes the stage, and the result the one in use."""
        workspace, recipe = self.run.workspace, self.run.linked.recipe
        with workspace.making(recipe.name, self.name, self.fingerprint) as making:
            resumed = making.resumed and self.stage.kind in RESUMED
            if making.resumed and not resumed:
                _clear(making.work)
            if self.run.watcher:
                self.run.watcher.begins(self.name, *count, resumed)
            began, started = datetime.now(UTC), monotonic()
            context = self._context()
            if isinstance(self.stage, PretrainStage | FinetuneStage):
                from hanji.recipes.fitting import plan_before_training  # which imports torch

                plan_before_training(self.name, self.stage, self.inputs, context.device, making.work)
            metrics = self._call(making.work, context)
            record = Record(
                kind=self.stage.kind,
                name=f"{recipe.name}/{self.name}",
                fingerprint=self.fingerprint,
                config=self.stage.model_dump(mode="json"),
                parents=self.parents,
                seed=recipe.seed,
                versions=_versions(),
                device=context.device,
                created=began.isoformat(timespec="seconds"),
                seconds=round(monotonic() - started, 3),
                metrics=metrics,
            )
            artifact = self._commit(making, record)
        if self.run.watcher:
            self.run.watcher.made(artifact)
        return artifact

    def follow(self, target: Path) -> Artifact:
        """What ranks other than 0 of a run under torchrun do: train along, and wait for rank 0 to commit."""
        work = target.with_name(target.name + PARTIAL)
        if self.stage.kind in RESUMED:
            while not work.is_dir():
                sleep(_FOLLOWER_WAIT_SECONDS)
            self._call(work, self._context())
        while not (target / RECORD).is_file():
            sleep(_FOLLOWER_WAIT_SECONDS)
        return Artifact.open(target)

    def _context(self) -> StageContext:
        recipe, stopper = self.run.linked.recipe, self.run.stopper
        device = "cpu" if self.stage.kind in WITHOUT_DEVICE else choose_device(recipe.device)
        return StageContext(
            name=f"{recipe.name}/{self.name}",
            seed=recipe.seed,
            device=device,
            workspace=self.run.workspace,
            cache=self.run.workspace.cache,
            progress=self.run.progress,
            stop=stopper.event,
        )

    def _call(self, work: Path, context: StageContext) -> dict[str, Any]:
        module, _, function = MAKERS[self.stage.kind].partition(":")
        make = getattr(import_module(module), function)
        stopper = self.run.stopper
        stopper.watched = self.stage.kind in RESUMED
        try:
            result: dict[str, Any] = make(self.stage, self.inputs, work, context)
        except Interrupted as error:
            raise stopper.interrupted(error.problem) from error
        except OSError as error:
            raise _disk_full(error, work) or error from error
        finally:
            stopper.watched = False
        if stopper.number is not None:  # it came too late to cut anything off
            stopper.event.clear()
        return result

    def _commit(self, making: Making, record: Record) -> Artifact:
        try:
            artifact = making.commit(record)
            self.run.workspace.use(artifact)
        except OSError as error:
            raise _disk_full(error, making.work) or error from error
        if self.run.stopper.number is not None:
            raise self.run.stopper.interrupted(
                f"Stopped after {record.name}, which is made", "the same command goes on from there"
            )
        return artifact


def rank() -> int:
    """This process's place among those that torchrun started; 0 is the one that writes and speaks."""
    return int(os.environ.get("RANK", "0"))


def _clear(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


def _disk_full(error: OSError, place: Path) -> ResourceError | None:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return ResourceError(
        "The disk is full",
        where=str(place),
        hint="make room and run the same command again: what is finished stays, what can be resumed is",
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in RECORDED_VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
