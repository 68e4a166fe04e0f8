"""What `run` and the verbs of one stage share: link the recipe, make it, tell where the results are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.workspace import Workspace
from hanji.cli.console import messages, output, show
from hanji.cli.options import RUNS
from hanji.cli.progress import progress
from hanji.cli.ways import taken_model, ways
from hanji.recipes.link import link
from hanji.recipes.load import Where
from hanji.recipes.runner import Run, rank
from hanji.recipes.schema import Recipe

_SHOWN_ANSWERS = 2


def make(
    recipe: Recipe,
    where: Where,
    *,
    runs: Path,
    force: Sequence[str] = (),
    until: str | None = None,
) -> None:
    """Makes what is missing or stale of `recipe`, showing progress on standard error.

    Args:
        recipe: what to make.
        where: file and line of a place in it, for messages.
        runs: the workspace's directory.
        force, until: as in `recipes.runner.Run`.
    """
    workspace = Workspace(runs)
    watcher = progress(silent=rank() > 0)
    before = {artifact.path for artifact in workspace.artifacts()}
    try:
        linked = link(recipe, workspace, where)
        made = Run(linked, workspace, force=force, until=until, progress=watcher, watcher=watcher)()
    finally:
        watcher.close()
    if rank() == 0:
        _tell(made, workspace, all(artifact.path in before for artifact in made.values()))


def _tell(made: Mapping[str, Artifact], workspace: Workspace, nothing_new: bool) -> None:
    """Where the results are, how good they are, what the last model answers, and how to talk to it."""
    if nothing_new:
        messages().print("Everything is made.")
    *_, last = made.values()
    show(f"{last.name}  {_place(last)}")
    for artifact in made.values():
        report = artifact.path / "report.html"
        if report.is_file():
            show(f"report  {_place(artifact) / report.name}")
            if artifact.kind == "compare":
                show(ways(artifact.path, output().width))
            else:
                _tell_scores(artifact.metrics.get("scores", {}))
                _tell_answers(artifact.path / "samples.json")
    chats = [found.name for found in made.values() if _chats(found)]
    if chats:
        taken = [name for name in map(taken_model, made.values()) if name in chats]
        elsewhere = "" if workspace.root == RUNS else f" --runs {workspace.root}"
        show(f"talk to it  hanji chat {[*chats, *taken][-1]}{elsewhere}")


def _chats(artifact: Artifact) -> bool:
    objective = artifact.record.config.get("objective") or {}
    return artifact.kind in ("pretrain", "finetune") and objective.get("name") in ("sft", "dpo")


def _tell_scores(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Bits per byte of held-out text, beside those of counted pairs of tokens where they were scored."""
    for model, found in scores.items():
        held_out = found.get("held_out", {}).get("bits_per_byte")
        bigram = found.get("bigram", {}).get("bits_per_byte")
        if held_out is not None:
            beside = "" if bigram is None else f"; an interpolated bigram {bigram:.3f}"
            show(f"{model}  {held_out:.3f} bits per byte of held-out text{beside}")


def _tell_answers(samples: Path) -> None:
    from rich.text import Text

    for sample in json.loads(samples.read_text(encoding="utf-8"))[:_SHOWN_ANSWERS]:
        *_, (model, answer) = sample["answers"].items()
        text = answer["text"].strip() + ("" if answer["finish_reason"] == "stop" else " …")
        show(Text.assemble("\n  ", (sample["prompt"], "bold"), f"\n  {model}: {text}"))
    show("")


def _place(artifact: Artifact) -> Path:
    """Through `current` where it is the one in use, and relative to where the command was started."""
    path = artifact.path
    link = path.parent / "current"
    if link.exists() and link.samefile(path):
        path = link
    here = Path.cwd()
    return path.absolute().relative_to(here) if path.absolute().is_relative_to(here) else path
