"""What `run` and the verbs of one stage share: link the recipe, make it, tell where the results are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.workspace import Workspace
from hanji.cli.console import messages, show
from hanji.cli.progress import progress
from hanji.recipes.link import link
from hanji.recipes.load import Where
from hanji.recipes.runner import Run
from hanji.recipes.schema import Recipe


def make(
    recipe: Recipe,
    where: Where,
    *,
    runs: Path,
    force: Sequence[str] = (),
    until: str | None = None,
) -> None:
    """Makes what is missing or stale of `recipe`, showing progress on standard error.

    Args:
        recipe: what to make.
        where: file and line of a place in it, for messages.
        runs: the workspace's directory.
        force, until: as in `recipes.runner.Run`.
    """
    workspace = Workspace(runs)
    watcher = progress()
    before = {artifact.path for artifact in workspace.artifacts()}
    try:
        linked = link(recipe, workspace, where)
        made = Run(linked, workspace, force=force, until=until, progress=watcher, watcher=watcher)()
    finally:
        watcher.close()
    _tell(made, all(artifact.path in before for artifact in made.values()))


def _tell(made: Mapping[str, Artifact], nothing_new: bool) -> None:
    if nothing_new:
        messages().print("Everything is made.")
    for artifact in made.values():
        report = artifact.path / "report.html"
        if report.is_file():
            show(f"Report: {_short(report)}")
    *_, last = made.values()
    show(f"{last.name}: {_short(last.path)}")


def _short(path: Path) -> str:
    """Relative to where the command was started, if it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
