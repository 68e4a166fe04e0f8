"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[
    Path, typer.Option("--runs", envvar="HANJI_RUNS", help="Directory of all artifacts.", show_default="runs")
]
RUNS = Path("runs")
Force = Annotated[
    list[str] | None,
    typer.Option("--force", metavar="STAGE", help="Make this stage anew, up to date or not. Repeatable."),
]
