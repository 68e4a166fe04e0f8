"""`hanji deploy`: which model a name stands for that clients use, now and before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanji.cli.loading import check_model
from hanji.cli.options import RUNS, Runs
from hanji.contracts.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from hanji.artifacts.artifact import Artifact
    from hanji.storage.aliases import Deployment


def deploy(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", show_default=False,
            help="A model: recipe/stage, a stage's name, recipe/stage/fingerprint, or its path. "
            "With --rollback, or to list its history: an alias.",
        ),
    ] = None,
    alias: Annotated[
        str | None, typer.Option("--as", metavar="ALIAS", help="The name that clients use.")
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Let the alias stand for what it stood for before.")
    ] = False,
    list_all: Annotated[bool, typer.Option("--list", help="Show all aliases, or one's history.")] = False,
    runs: Runs = RUNS,
) -> None:  # fmt: skip
    """See `cli.app.VERBS`."""
    from hanji.storage.aliases import Aliases
    from hanji.storage.database import Database
    from hanji.storage.location import database_url

    _check_one_question(name, alias, rollback, list_all)
    artifact = _model(name, runs) if name is not None and alias is not None else None
    with Database.open(database_url(runs)) as database:
        aliases = Aliases(database)
        if list_all:
            from hanji.cli.console import show

            show(_table(aliases.history(name) if name else aliases.current().values(), runs))
            return
        if artifact is not None and alias is not None:
            done = aliases.deploy(alias, _reference(artifact, runs))
        else:
            assert name is not None
            _check_earlier(aliases.history(name), runs)
            done = aliases.rollback(name)
    typer.echo(f"{done.alias} → {done.artifact}")


def _check_one_question(name: str | None, alias: str | None, rollback: bool, list_all: bool) -> None:
    asked = (alias is not None) + rollback + list_all
    if asked != 1 or (name is None and not list_all):
        raise ConfigError(
            "deploy does one thing at a time",
            expected="hanji deploy NAME --as ALIAS, hanji deploy ALIAS --rollback, or hanji deploy --list",
        )


def _model(name: str, runs: Path) -> Artifact:
    """The artifact called so, which makes it a model that is whole.

    Raises:
        ArtifactError: there is none, it is something else, or files of it are missing.
    """
    from hanji.artifacts.artifact import RECORD, Artifact
    from hanji.artifacts.workspace import Workspace

    exact = runs / name
    artifact = Artifact.open(exact) if (exact / RECORD).is_file() else Workspace(runs).resolve(name)
    check_model(artifact)
    if missing := artifact.missing():
        raise ArtifactError(
            "Files of this artifact are missing",
            where=str(artifact.path),
            value=missing,
            hint=f"hanji show {artifact.name} --verify",
        )
    return artifact


def _reference(artifact: Artifact, runs: Path) -> str:
    """`recipe/stage/fingerprint`.

    Raises:
        ArtifactError: it lies elsewhere, where the service would not find it.
    """
    place, root = artifact.path.resolve(), runs.resolve()
    if place.parents[2:3] != (root,):
        raise ArtifactError(
            "This artifact is not one of the workspace",
            where=str(place),
            expected=f"{root}/RECIPE/STAGE/FINGERPRINT",
            hint="name its workspace: --runs DIRECTORY",
        )
    return place.relative_to(root).as_posix()


def _check_earlier(history: list[Deployment], runs: Path) -> None:
    """What an alias would be rolled back to must still be there.

    Raises:
        ArtifactError: somebody deleted it.
    """
    earlier = [deployment for deployment in history if deployment.rolled_back is None][1:2]
    for deployment in earlier:
        if not _is_there(deployment, runs):
            raise ArtifactError(
                "What this alias stood for before is gone",
                where=str(runs / deployment.artifact),
                hint=f"hanji deploy NAME --as {deployment.alias}",
            )


def _is_there(deployment: Deployment, runs: Path) -> bool:
    from hanji.artifacts.artifact import RECORD

    return (runs / deployment.artifact / RECORD).is_file()


def _table(found: Iterable[Deployment], runs: Path) -> RenderableType:
    from rich.table import Table

    deployments = list(found)
    if not deployments:
        return "Nothing is deployed."
    table = Table(box=None, header_style="bold cyan", padding=(0, 2, 0, 1))
    for title in ("alias", "model", "since", ""):
        table.add_column(title)
    for deployment in deployments:
        until = deployment.rolled_back
        note = f"rolled back {until:%Y-%m-%d %H:%M}" if until else ""
        note = note if _is_there(deployment, runs) else f"{note} [red]gone[/]".strip()
        since = f"{deployment.created:%Y-%m-%d %H:%M}"
        table.add_row(deployment.alias, deployment.artifact, since, note, style="dim" if until else None)
    return table
