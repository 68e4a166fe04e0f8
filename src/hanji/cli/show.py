"""`hanji show`: an artifact's figures and files; of data, rows as people or as the model sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanji.cli.options import RUNS, Runs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hanji.artifacts.artifact import Artifact


def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="recipe/stage, a stage's name, or an artifact's path; none lists all.",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Rows of data to print.")] = 3,
    split: Annotated[str, typer.Option("--split", help="Which rows: train, validation, test.")] = "train",
    tokens: Annotated[bool, typer.Option("--tokens", help="Print rows as the model sees them.")] = False,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="NAME", help="For --tokens: whose tokens.")
    ] = None,
    sequence_length: Annotated[
        int, typer.Option("--sequence-length", min=2, help="For --tokens: the size that rows are packed to.")
    ] = 512,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every file with its checksum.")] = False,
    runs: Runs = RUNS,
) -> None:  # fmt: skip
    """See `cli.app.VERBS`."""
    from hanji.artifacts.workspace import Workspace
    from hanji.cli import console
    from hanji.contracts.errors import ConfigError

    workspace = Workspace(runs)
    if name is None:
        console.show(_list(workspace.artifacts()))
        return
    artifact = workspace.resolve(name)
    if tokens and (artifact.kind != "prepare" or tokenizer is None):
        raise ConfigError(
            "--tokens shows prepared data, with the tokenizer that --tokenizer names",
            value=name if tokenizer else None,
            hint=f"hanji show {name} --tokens --tokenizer NAME",
        )
    if tokens:
        from hanji.cli.loading import locate
        from hanji.cli.rows import packed_rows

        assert tokenizer is not None
        console.show(packed_rows(artifact.path, split, locate(tokenizer, runs, model=False), sequence_length))
        return
    console.show(_summary(artifact))
    if artifact.kind == "prepare" and rows:
        from hanji.cli.rows import sample_rows

        console.show(sample_rows(artifact.path, split, rows))
    if verify:
        artifact.verify()
        console.show(f" [green]✓[/] all {len(artifact.record.files)} files are as they were made")


def _list(artifacts: list[Artifact]) -> RenderableType:
    from rich.table import Table

    from hanji.cli import figures

    if not artifacts:
        return "Nothing has been made here yet."
    table = Table(box=None, header_style="bold cyan", padding=(0, 2, 0, 1))
    for title in ("name", "kind", "made", "took", ""):
        table.add_column(title, justify="right" if title == "took" else "left")
    for artifact in artifacts:
        record = artifact.record
        made = record.created[:16].replace("T", " ")
        took = figures.seconds(record.seconds)
        table.add_row(record.name, record.kind, made, took, figures.summary(record.metrics))
    return table


def _summary(artifact: Artifact) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from hanji.cli import figures

    record = artifact.record
    about = Table.grid(padding=(0, 2))
    about.add_column(style="dim", justify="right")
    about.add_column(overflow="fold")
    about.add_row("kind", record.kind)
    about.add_row("path", str(artifact.path))
    about.add_row(
        "made", f"{record.created.replace('T', ' ')} on {record.device}, {figures.seconds(record.seconds)}"
    )
    about.add_row("from", ", ".join(record.parents) or "nothing")
    about.add_row("seed", str(record.seed))
    about.add_row("versions", ", ".join(f"{name} {number}" for name, number in record.versions.items()))
    parts: list[RenderableType] = [Text(f"\n {record.name}", "bold"), _indented(about)]
    if record.metrics:
        parts += [Text("\n Figures", "bold cyan"), _indented(_table(_flat(record.metrics)))]
    files = {name: figures.size((artifact.path / name).stat().st_size) for name in record.files}
    parts += [Text("\n Files", "bold cyan"), _indented(_table(files)), Text("")]
    return Group(*parts)


def _flat(metrics: Any, prefix: str = "") -> dict[str, str]:
    """Nested figures under dotted names, without histograms and sizes in bytes."""
    flat: dict[str, str] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= {} if name in ("histogram", "bytes") else _flat(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            flat[prefix + name] = f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
        elif isinstance(value, int) and not isinstance(value, bool):
            flat[prefix + name] = f"{value:,}"
        elif not isinstance(value, list):
            flat[prefix + name] = str(value)
    return flat


def _table(rows: dict[str, str]) -> RenderableType:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right", style="bold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _indented(renderable: RenderableType) -> RenderableType:
    from rich.padding import Padding

    return Padding(renderable, (0, 0, 0, 3))
