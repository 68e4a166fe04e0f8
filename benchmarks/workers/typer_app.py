"""A bare Typer application with ten commands: the least that a command line like ours can cost."""

from __future__ import annotations

import typer

app = typer.Typer()


def _command(name: str) -> None:
    @app.command(name)
    def command(first: str, second: int = 1, third: bool = False) -> None:
        """A command."""
        typer.echo(f"{first} {second} {third}")


for number in range(10):
    _command(f"command-{number}")

if __name__ == "__main__":
    app()
