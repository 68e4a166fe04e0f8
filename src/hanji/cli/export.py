"""`hanji export`: a model in a format that other programs run, read back by them before it is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hanji.cli.console import show
from hanji.cli.loading import Name, locate
from hanji.cli.options import RUNS, Runs


def export(
    name: Name,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="merged: a whole model for transformers and vLLM. adapter: a PEFT directory. gguf: one file "
            "for llama.cpp. onnx: encoders and classifiers for ONNX Runtime.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="The directory, or of gguf the file, to make.",
            show_default="NAME-FORMAT",
        ),
    ] = None,
    type: Annotated[
        str | None,
        typer.Option(
            "--type", metavar="f32|f16|q8_0", help="Of gguf: how weights are kept.", show_default="f32"
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="PATH|HUB_ID",
            help="Of adapter: where the base model will be found.",
            show_default="where it is now",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    runs: Runs = RUNS,
) -> None:
    """See `cli.app.VERBS`."""
    from hanji.cli import figures
    from hanji.cli.progress import progress
    from hanji.export.exporting import export as run_export

    source = locate(name, runs)
    watcher = progress()
    try:
        made = run_export(source, to, out, name=name, force=force, progress=watcher, type=type, base=base)
    finally:
        watcher.close()
    for comparison in made.comparisons:
        show(f"  {comparison}")
    files = [made.path] if made.path.is_file() else [path for path in made.path.rglob("*") if path.is_file()]
    show(f"{made.path}  {figures.size(sum(path.stat().st_size for path in files))}")
