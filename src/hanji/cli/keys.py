"""`hanji keys`: who may use a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hanji.cli.options import RUNS, Runs

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from hanji.storage.keys import ApiKey

keys = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich")


@keys.command(help="Make a key. Its token is printed this once, and stored nowhere.")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what it is for.")],
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", metavar="N", min=1, help="At most so many.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option("--concurrent", metavar="N", min=1, help="At most so many at once.")
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """See `storage.keys.Keys.create`."""
    from hanji.cli.console import messages
    from hanji.storage.database import Database
    from hanji.storage.keys import Keys
    from hanji.storage.location import database_url

    with Database.open(database_url(runs)) as database:
        key, token = Keys(database).create(
            name, requests_per_minute=requests_per_minute, concurrent=concurrent
        )
    typer.echo(token)
    messages().print(f"key {key.id}, {key.name}: keep the token; it is not shown again")


@keys.command("list", help="Show every key: how its token begins, its limits, when it was last used.")
def list_keys(runs: Runs = RUNS) -> None:
    """See `storage.keys.Keys.all`."""
    from hanji.cli.console import show
    from hanji.storage.database import Database
    from hanji.storage.keys import Keys
    from hanji.storage.location import database_url

    with Database.open(database_url(runs)) as database:
        show(_table(Keys(database).all()))


@keys.command(help="Make a key good for nothing, from the next request on.")
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME|ID", help="The key.")], runs: Runs = RUNS
) -> None:
    """See `storage.keys.Keys.revoke`."""
    from hanji.storage.database import Database
    from hanji.storage.keys import Keys
    from hanji.storage.location import database_url

    with Database.open(database_url(runs)) as database:
        key = Keys(database).revoke(name)
    typer.echo(f"key {key.id}, {key.name}: revoked")


def _table(found: list[ApiKey]) -> RenderableType:
    from rich.table import Table

    if not found:
        return "There are no keys."
    table = Table(box=None, header_style="bold cyan", padding=(0, 2, 0, 1))
    for title in ("id", "name", "token", "a minute", "at once", "made", "last used", "revoked"):
        table.add_column(title, justify="right" if title in ("id", "a minute", "at once") else "left")
    for key in found:
        table.add_row(
            str(key.id), key.name, f"{key.prefix}…", str(key.requests_per_minute or "any"),
            str(key.concurrent or "any"), _moment(key.created), _moment(key.last_used), _moment(key.revoked),
            style="dim" if key.revoked else None,
        )  # fmt: skip
    return table


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
