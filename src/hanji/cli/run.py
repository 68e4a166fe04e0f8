"""`hanji run`: all stages of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hanji.cli.options import RUNS, Force, Runs


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STAGE.KEY=VALUE ...",
            help="Replace what the recipe says, as base.train.learning_rate=1e-3.",
            show_default=False,
        ),
    ] = None,
    force: Force = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="STAGE", help="Make this stage, and what it needs."),
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Makes what is missing or stale, skips what is there, resumes what was cut off."""
    from hanji.cli.making import make
    from hanji.recipes.load import load_recipe

    loaded, where = load_recipe(recipe, overrides or [])
    make(loaded, where, runs=runs, force=force or [], until=until)
