"""The verbs that make one artifact: each is a recipe of one stage, with the recipe's own keys."""

from collections.abc import Callable
from typing import Annotated

import typer

from hanji.cli.options import RUNS, Runs

# No postponed annotations here: typer evaluates them, and each verb's --help is a closure over its kind.


def _verb(kind: str) -> Callable[..., None]:
    def show_help(asked: bool) -> None:
        if asked:
            from hanji.cli.stage_help import show_stage_help

            show_stage_help(kind)
            raise typer.Exit

    def verb(
        settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE ...")] = None,
        force: Annotated[bool, typer.Option("--force")] = False,
        runs: Runs = RUNS,
        _help: Annotated[bool, typer.Option("--help", is_eager=True, callback=show_help)] = False,
    ) -> None:
        from hanji.cli.making import make
        from hanji.recipes.load import one_stage

        recipe, where = one_stage(kind, settings or [])
        make(recipe, where, runs=runs, force=[name for name in recipe.stages if force])

    return verb


prepare = _verb("prepare")
tokenizer = _verb("tokenizer")
pretrain = _verb("pretrain")
finetune = _verb("finetune")
evaluate = _verb("evaluate")
