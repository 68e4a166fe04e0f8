"""What a stage's result depends on, as one short name: settings, seed, and the digests of what goes in."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from glob import glob
from pathlib import Path
from typing import Any, Final

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.digest import fingerprint, outside_digest
from hanji.artifacts.workspace import Workspace
from hanji.recipes.link import WITHOUT_A_FILE
from hanji.recipes.schema import PrepareStage, PretrainStage, Stage
from hanji.recipes.train import TrainSettings

FORMAT: Final = 1
"""Raised when the same settings come to mean another result: everything is then made anew."""

Parents = Mapping[str, Mapping[str, str]]
"""Name → `path` and `digest`, as `artifact.json` records them."""


def stage_fingerprint(stage: Stage, seed: int, parents: Parents) -> str:
    """The short name of a stage's result.

    It depends on every setting but those that leave the result what it is (`TrainSettings.NEUTRAL`), and
    never on names, times, places or the device.
    """
    settings = stage.model_dump(mode="json")
    train = getattr(stage, "train", None)
    if isinstance(train, TrainSettings):
        for name in train.NEUTRAL:
            del settings["train"][name]
    inputs = {name: parent["digest"] for name, parent in parents.items()}
    return fingerprint({"format": FORMAT, "stage": settings, "seed": seed, "inputs": inputs})


def parents_of(stage: Stage, inputs: Mapping[str, Artifact | str], workspace: Workspace) -> Parents:
    """Everything that goes into a stage, with its digest: artifacts, files, hub ids."""
    parents = {name: _parent(given, workspace) for name, given in inputs.items()}
    if isinstance(stage, PrepareStage):
        parents |= {source.path: _outside(source.path) for source in stage.source}
    if isinstance(stage, PretrainStage) and isinstance(stage.model, str) and Path(stage.model).exists():
        parents[stage.model] = _outside(stage.model)
    return parents


def _parent(given: Artifact | str, workspace: Workspace) -> dict[str, str]:
    if isinstance(given, str):
        return _outside(given)
    place: Any = given.path
    root = workspace.root.resolve()
    if place.resolve().is_relative_to(root):
        place = place.resolve().relative_to(root)
    return {"path": str(place), "digest": given.digest, "name": given.name}


def _outside(name: str) -> dict[str, str]:
    """A path by its content; what no path names (hub ids, addresses) by its name alone.

    The installed Python's own documentation counts by the Python's version: an added package does not make
    what was trained on it stale.
    """
    if name in WITHOUT_A_FILE:
        return {"path": name, "digest": f"python {platform.python_version()}"}
    path = Path(name).expanduser()
    found = [path] if path.exists() else sorted(map(Path, glob(str(path), recursive=True)))  # noqa: PTH207
    if not found:
        return {"path": name, "digest": f"name {name}"}
    return {"path": str(path.absolute()), "digest": outside_digest(found)}
