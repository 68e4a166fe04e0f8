"""`hanji plan`: what a recipe's training stages will need, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanji.cli.options import RUNS, Runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from hanji.recipes.plan.estimate import StagePlan

_PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer states",
    "activations": "activations",
    "logits": "logits and head",
    "gaps": "gaps in the heap",
    "workspace": "workspace of kernels",
}
_BAR_CELLS = 24


def plan(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STAGE.KEY=VALUE ...",
            help="Replace what the recipe says, as base.train.batch_tokens=8192.",
            show_default=False,
        ),
    ] = None,
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Measure this device again, though it was measured before.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Loads no weights and trains nothing; the device is measured once, for some seconds."""
    import json

    from hanji.artifacts.workspace import Workspace
    from hanji.cli.console import messages, show
    from hanji.recipes.link import link
    from hanji.recipes.load import load_recipe

    loaded, where = load_recipe(recipe, overrides or [])
    workspace = Workspace(runs)
    linked = link(loaded, workspace, where)
    console = messages()
    with console.status("reading the recipe") as status:
        from hanji.recipes.device import choose_device
        from hanji.recipes.plan.calibration import calibrated, kept
        from hanji.recipes.plan.recipe import RecipePlanner

        device = choose_device(loaded.device)
        if recalibrate or kept(device) is None:
            status.update("measuring this device, once, for some seconds")
        calibration = calibrated(device, again=recalibrate)
        status.update("tracing a step of each training stage")
        plans = RecipePlanner(linked, workspace, device, calibration).plans()
    if as_json:
        typer.echo(json.dumps([found.to_json() for found in plans], indent=2, ensure_ascii=False))
        return
    if not plans:
        show("No stage of this recipe trains a model: there is nothing to plan.")
        return
    show(f"[bold]{loaded.name}[/] on {calibration.device}\n")
    for found in plans:
        show(_stage(found))
    show(_whole(plans))


def _stage(found: StagePlan) -> RenderableType:
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table

    sides = Table.grid(padding=(0, 4))
    sides.add_column()
    sides.add_column()
    sides.add_row(_work(found), _memory(found))
    notes = [f"[dim]· {sentence}[/]" for sentence in found.assumed]
    if not found.fits:
        notes.append(
            "[bold red]✗ it does not fit[/]" + ("" if found.would_fit else "; no setting changes that")
        )
        notes += [f"  [green]{way}[/]" for way in found.would_fit]
    body = Group(sides, *([""] if notes else []), *notes)
    title = f"[bold]{found.name}[/] [dim]{found.model}[/]"
    return Panel(
        body, title=title, title_align="left", border_style="cyan" if found.fits else "red", width=100
    )


def _work(found: StagePlan) -> RenderableType:
    from rich.table import Table

    from hanji.cli.figures import count, seconds

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_row("parameters", count(found.parameters))
    table.add_row("that learn", count(found.trainable))
    unknown = "[yellow]depends on data[/]"
    table.add_row("tokens", unknown if found.tokens is None else count(found.tokens))
    table.add_row("steps", unknown if found.steps is None else f"{found.steps:,}")
    table.add_row("operations a token", _flops(found.flops_per_token))
    table.add_row("operations", unknown if found.flops is None else _flops(found.flops))
    if found.tokens_per_second is not None:
        table.add_row("tokens a second", f"{found.tokens_per_second:,.0f}")
    if found.seconds is not None and found.evaluation_seconds is not None:
        if found.evaluation_seconds:
            table.add_row("evaluation", seconds(found.evaluation_seconds))
        table.add_row("[bold]time[/]", f"[bold]{seconds(found.seconds)}[/]")
    return table


def _memory(found: StagePlan) -> RenderableType:
    from rich.table import Table

    from hanji.cli.figures import size

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    largest = max(found.memory.values())
    for part, words in _PARTS.items():
        if part in found.memory:
            bar = "█" * max(round(_BAR_CELLS * found.memory[part] / largest), 0)
            # without accumulation gradients come when activations are going: none are there at the peak
            shown = size(found.memory[part]) if found.memory[part] else "–"
            table.add_row(words, shown, f"[cyan]{bar}[/]")
    verdict = "[green]✓ fits[/]" if found.fits else "[red]✗[/]"
    table.add_row("[bold]memory at the peak[/]", f"[bold]{size(found.needed_bytes)}[/]", verdict)
    table.add_row("free here", size(found.available_bytes), "")
    return table


def _whole(plans: Sequence[StagePlan]) -> str:
    from hanji.cli.figures import seconds, size

    known = [found.seconds for found in plans if found.seconds is not None]
    more = "" if len(known) == len(plans) else " and what depends on data that is not prepared"
    peak = max(found.needed_bytes for found in plans)
    return f"All training: [bold]{seconds(sum(known))}[/]{more}; at most [bold]{size(peak)}[/] of memory."


def _flops(value: float) -> str:
    for unit, name in ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP")):
        if value >= unit:
            return f"{value / unit:,.1f} {name}"
    return f"{value / 1e6:,.1f} MFLOP"
