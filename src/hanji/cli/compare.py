"""`hanji compare`: one model adapted in several ways, a table of them, and which to take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanji.cli.options import RUNS, Runs

if TYPE_CHECKING:
    from hanji.recipes.load import Where
    from hanji.recipes.schema import Recipe

# No postponed annotations here: typer evaluates them.


def _show_help(asked: bool) -> None:
    if asked:
        from hanji.cli.stage_help import show_stage_help

        show_stage_help("compare")
        raise typer.Exit


def compare(
    settings: Annotated[list[str] | None, typer.Argument(metavar="RECIPE | KEY=VALUE ...")] = None,
    stage: Annotated[str | None, typer.Option("--stage", metavar="STAGE")] = None,
    force: Annotated[bool, typer.Option("--force")] = False,
    runs: Runs = RUNS,
    _help: Annotated[bool, typer.Option("--help", is_eager=True, callback=_show_help)] = False,
) -> None:
    """See `cli.app.VERBS`."""
    from hanji.cli.making import make
    from hanji.recipes.load import load_recipe, one_stage
    from hanji.recipes.schema import CompareStage
    from hanji.recipes.trials import names

    given = settings or []
    if given and "=" not in given[0]:
        recipe, where = load_recipe(Path(given[0]), given[1:])
        recipe, name = _comparison(recipe, stage, where)
    else:
        recipe, where = one_stage("compare", given)
        (name,) = recipe.stages
    found = recipe.stages[name]
    assert isinstance(found, CompareStage)
    make(recipe, where, runs=runs, force=[*names(name, found), name] if force else [], until=name)


def _comparison(recipe: "Recipe", stage: str | None, where: "Where") -> "tuple[Recipe, str]":
    """The recipe with the comparison that is meant, and its name: its own, or one of every method on the task
    of a `finetune` stage; the last where none is named.

    Raises:
        ConfigError: there is no such stage, or none that can be compared.
    """
    from hanji.contracts.errors import ConfigError, nearest
    from hanji.recipes.schema import CompareStage, FinetuneStage
    from hanji.recipes.trials import comparing

    def of_kind(kind: type) -> list[str]:
        return [name for name, found in recipe.stages.items() if isinstance(found, kind)]

    comparisons, tasks = of_kind(CompareStage), of_kind(FinetuneStage)
    if not comparisons and not tasks:
        raise ConfigError(
            "The recipe has nothing to compare",
            where=where(("stages",)),
            expected="a stage of kind compare, or of kind finetune, whose task every method is tried on",
        )
    name = stage or (comparisons or tasks)[-1]
    if name not in (*comparisons, *tasks):
        near = nearest(name, [*comparisons, *tasks])
        raise ConfigError(
            "There is no such stage to compare on",
            where="--stage",
            value=name,
            expected=", ".join([*comparisons, *tasks]),
            hint=f"did you mean {near}?" if near else None,
        )
    return (recipe, name) if name in comparisons else comparing(recipe, name)
