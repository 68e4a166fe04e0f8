"""The `hanji` command: verbs in the order of a model's life, each imported only when it is called."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from hanji import __version__
from hanji.contracts.errors import HanjiError


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Attributes:
        panel: the heading that it stands under.
        code: `module:function`, or a `typer.Typer` with verbs of its own.
        help: what it does, in a line.
    """

    panel: str
    code: str
    help: str


VERBS: Final[dict[str, Verb]] = {
    "prepare": Verb("Make", "hanji.cli.verbs:prepare", "Read sources, clean and split them: prepared data."),
    "tokenizer": Verb("Make", "hanji.cli.verbs:tokenizer", "Train a tokenizer, or take an existing one."),
    "pretrain": Verb("Make", "hanji.cli.verbs:pretrain", "Train a blank model on text."),
    "finetune": Verb("Make", "hanji.cli.verbs:finetune", "Train a trained model further, on chats or text."),
    "evaluate": Verb("Make", "hanji.cli.verbs:evaluate", "Compare models; write a report with pictures."),
    "chat": Verb("Use", "hanji.cli.chat:chat", "Talk to a model in the terminal."),
    "predict": Verb("Use", "hanji.cli.predict:predict", "What comes next, what is hidden, which label."),
    "export": Verb("Use", "hanji.cli.export:export", "Write a model for other programs: GGUF, ONNX, PEFT."),
    "serve": Verb("Serve", "hanji.cli.serve:serve", "Serve models over HTTP, as OpenAI's clients know it."),
    "deploy": Verb("Serve", "hanji.cli.deploy:deploy", "Point a name of the service at a model, or back."),
    "keys": Verb("Serve", "hanji.cli.keys:keys", "Make, list and revoke the keys of a service."),
    "run": Verb("Recipes", "hanji.cli.run:run", "Make the stages of a recipe that are missing or stale."),
    "plan": Verb("Recipes", "hanji.cli.plan:plan", "Tell parameters, memory and time before anything runs."),
    "compare": Verb("Recipes", "hanji.cli.compare:compare", "Compare the ways to adapt a model; advise one."),
    "models": Verb("Recipes", "hanji.cli.models:models", "Help to choose a model: presets, and open ones."),
    "schema": Verb("Recipes", "hanji.cli.schema:schema", "Print the JSON schema of recipes, for editors."),
    "show": Verb("Look back", "hanji.cli.show:show", "Show an artifact: figures, files, rows, tokens."),
    "lineage": Verb("Look back", "hanji.cli.lineage:lineage", "Show what an artifact was made from."),
}


class Verbs(TyperGroup):
    """The verbs, and what happens to errors."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Imports the verb's module, and no other."""
        if cmd_name not in VERBS:
            return None
        verb = VERBS[cmd_name]
        module, _, function = verb.code.partition(":")
        found = getattr(import_module(module), function)
        if isinstance(found, typer.Typer):  # with verbs of its own
            found.info.help = verb.help
            return typer.main.get_command(found)
        own = typer.Typer(add_completion=False, rich_markup_mode="rich")
        own.command(cmd_name, help=verb.help)(found)
        return typer.main.get_command(own)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """A mistyped verb is answered with the right one."""
        from hanji.contracts.errors import ConfigError, nearest

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = nearest(args[0], VERBS)
            _fail(
                ConfigError(
                    f"There is no verb {args[0]}",
                    expected=", ".join(VERBS),
                    hint=f"did you mean hanji {near}?" if near else "see hanji --help",
                )
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the verb; what goes wrong is told without a traceback, unless --debug asks for it."""
        try:
            return super().invoke(ctx)
        except HanjiError as error:
            if _debugging():
                raise
            _fail(error)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            ends_as_meant = type(error).__module__.startswith(("typer", "click"))
            if _debugging() or ends_as_meant:
                raise
            from hanji.cli.console import show_unexpected

            show_unexpected(error)
            raise typer.Exit(1) from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The front page; written by hand, for rich would take half of the time."""
        typer.echo(front_page(), color=ctx.color)


def _fail(error: HanjiError) -> None:
    from hanji.cli.console import show_error

    show_error(error)
    raise typer.Exit(error.exit_code)


def _debugging() -> bool:
    return "--debug" in sys.argv[1:]


def front_page() -> str:
    """What `hanji --help` says."""
    lines = [
        "",
        f" {_bold('hanji')} 한지 {_dim(__version__)}: a language model, from a blank page to a service.",
        "",
        f" {_bold('Usage')}  hanji VERB [KEY=VALUE ...] [OPTIONS]",
    ]
    panel = ""
    for name, verb in VERBS.items():
        if verb.panel != panel:
            panel = verb.panel
            lines += ["", " " + typer.style(panel, fg="cyan", bold=True)]
        lines.append(f"   {_bold(name.ljust(11))}{verb.help}")
    lines += [
        "",
        " " + typer.style("Options", fg="cyan", bold=True),
        f"   {_bold('--help')}     This page; after a verb, its keys and options.",
        f"   {_bold('--version')}  The version.",
        f"   {_bold('--debug')}    Show the traceback of an error.",
        "",
        _dim(" Example  hanji run recipes/tiny.yaml base.train.steps=20"),
        "",
    ]
    return "\n".join(lines)


def _bold(text: str) -> str:
    return typer.style(text, bold=True)


def _dim(text: str) -> str:
    return typer.style(text, dim=True)


app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"hanji {__version__}")
        raise typer.Exit


@app.callback()
def hanji(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
    debug: Annotated[bool, typer.Option("--debug")] = False,
) -> None:
    """See `front_page`."""


def main() -> None:
    """The entry point of the command."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    app(arguments)
