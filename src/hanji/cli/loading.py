"""A model and its tokenizer by the name that a person gives: what `chat` and `predict` begin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanji.cli.console import messages

if TYPE_CHECKING:
    from hanji.artifacts.artifact import Artifact
    from hanji.tokenizers.tokenizer import Tokenizer

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="An artifact (recipe/stage or stage), a directory, a hub id, or a .gguf file."
    ),
]
_INSTEAD = (
    "name a directory, a .gguf file or a hub id (hanji models lists open models), "
    "or say where the artifact is: --runs DIRECTORY"
)
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Where the model runs.")]


def load(name: str, runs: Path, device: str) -> tuple[Any, Tokenizer]:
    """The model, ready to answer, and its tokenizer; a spinner turns meanwhile on a terminal.

    Raises:
        HanjiError: nothing loadable is called so, or there is no such device.
    """
    source = locate(name, runs)
    console = messages()
    with console.status(f"loading {name}") if console.is_terminal else _nothing():
        import torch

        from hanji.artifacts.models import load_trained
        from hanji.recipes.device import choose_device
        from hanji.tokenizers.tokenizer import Tokenizer

        chosen = choose_device(device)
        tokenizer = Tokenizer.load(source)
        model = load_trained(source, dtype=torch.bfloat16 if chosen == "cuda" else torch.float32)
        return model.to(chosen).eval(), tokenizer


def check_model(artifact: Artifact) -> None:
    """Refuses what no stage made that makes a model.

    Raises:
        ArtifactError: with what it is instead.
    """
    from hanji.contracts.errors import ArtifactError
    from hanji.recipes.schema import STAGES

    stage = STAGES.get(artifact.kind)
    if stage is None or stage.makes != "model":
        raise ArtifactError(
            f"{artifact.name} is no model",
            where=str(artifact.path),
            value=artifact.kind,
            expected="what a stage made that makes a model, as pretrain and finetune do",
            hint=f"see what it is: hanji show {artifact.name}",
        )


def locate(name: str, runs: Path, *, model: bool = True) -> str:
    """The directory of the artifact called so; else the name itself, where it is a path or can be a hub id.

    Args:
        model: whether an artifact must be a model.

    Raises:
        ArtifactError: it is neither, or rather a mistyped artifact; or no model.
    """
    from hanji.artifacts.workspace import Workspace
    from hanji.contracts.errors import nearest

    workspace = Workspace(runs)
    artifact = workspace.lookup(name)
    if artifact is not None:
        if model:
            check_model(artifact)
        return str(artifact.path)
    if Path(name).expanduser().exists():
        return str(Path(name).expanduser())
    hub_id = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    if hub_id and nearest(name, workspace.names()) is None:
        return name
    return str(workspace.resolve(name, _INSTEAD).path)  # which says what there is instead


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()
