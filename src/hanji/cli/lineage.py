"""`hanji lineage`: what an artifact was made from, back to the sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hanji.cli.options import RUNS, Runs

if TYPE_CHECKING:
    from rich.tree import Tree

    from hanji.artifacts.lineage import Ancestor

_SHA256_CHARACTERS = 64


def lineage(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="recipe/stage, a stage's name, or an artifact's path.")
    ],
    runs: Runs = RUNS,
) -> None:
    """See `cli.app.VERBS`."""
    from rich.tree import Tree

    from hanji.artifacts.lineage import lineage as origins
    from hanji.artifacts.workspace import Workspace
    from hanji.cli.console import show

    workspace = Workspace(runs)
    root = origins(workspace, workspace.resolve(name))
    tree = Tree(_label(root), guide_style="dim")
    _grow(tree, root, set())
    show(tree)


def _grow(tree: Tree, ancestor: Ancestor, seen: set[str]) -> None:
    for parent in ancestor.parents:
        again = parent.path in seen and bool(parent.parents)
        branch = tree.add(_label(parent) + ("  [dim]as above[/]" if again else ""))
        seen.add(parent.path)
        if not again:
            _grow(branch, parent, seen)


def _label(ancestor: Ancestor) -> str:
    from rich.markup import escape

    from hanji.cli import figures

    artifact = ancestor.artifact
    if artifact is None:
        digest = ancestor.digest[:12] if len(ancestor.digest) == _SHA256_CHARACTERS else ancestor.digest
        return f"{escape(ancestor.path)}  [dim]{escape(digest)}[/]"
    record = artifact.record
    parts = [
        f"[bold]{escape(record.name)}[/]",
        f"[cyan]{record.kind}[/]",
        f"[dim]{record.fingerprint} · {figures.seconds(record.seconds)}[/]",
        figures.summary(record.metrics, most=2),
    ]
    changed = "  [red]made anew since[/]" if ancestor.changed else ""
    return "  ".join(part for part in parts if part) + changed
