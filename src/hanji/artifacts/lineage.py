"""Where an artifact came from, back to the sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hanji.artifacts.artifact import RECORD, Artifact
from hanji.artifacts.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One node of the tree of origins.

    Attributes:
        name: what the child called it.
        artifact: the artifact, or None for a source outside of the workspace or one that is gone.
        path: where it is or was, or its hub id.
        digest: what the child saw of it.
        changed: whether what is there now differs from what the child saw.
        parents: its own origins.
    """

    name: str
    artifact: Artifact | None
    path: str
    digest: str
    changed: bool
    parents: tuple[Ancestor, ...]


def lineage(workspace: Workspace, artifact: Artifact) -> Ancestor:
    """The tree of origins of `artifact`, itself at the root."""
    parents = tuple(
        _ancestor(workspace, name, parent["path"], parent["digest"])
        for name, parent in artifact.record.parents.items()
    )
    return Ancestor(artifact.name, artifact, str(artifact.path), artifact.digest, False, parents)


def _ancestor(workspace: Workspace, name: str, path: str, digest: str) -> Ancestor:
    directory = workspace.root / Path(path)
    if not (directory / RECORD).is_file():
        return Ancestor(name, None, path, digest, False, ())
    found = lineage(workspace, Artifact.open(directory))
    return Ancestor(name, found.artifact, path, digest, found.digest != digest, found.parents)
