"""From artifacts to the report's data: what can be told of models, and of what they were made from."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hanji import __version__
from hanji.artifacts.artifact import Artifact
from hanji.artifacts.lineage import Ancestor, lineage
from hanji.evaluation.report import (
    Answer,
    Dataset,
    Model,
    Node,
    Planned,
    ReportData,
    TokenizerFacts,
    Training,
)
from hanji.generation import Generation
from hanji.recipes.context import StageContext
from hanji.recipes.schema import Stage

_LEFT_OUT = ("skipped", "empty", "duplicates", "contaminated", "left_out")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What was found out about one model.

    Attributes:
        source: its artifact, or the path or hub id.
        held_out: what it was scored on, in words.
        answers: to the prompts, in their order.
    """

    name: str
    source: Artifact | str
    parameters: int
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    held_out: str = ""
    answers: Sequence[Generation] = ()


def gather(
    evaluated: Sequence[Evaluated],
    stage: Stage,
    context: StageContext,
    *,
    seconds: float,
    prompts: Sequence[str] = (),
) -> ReportData:
    """Reads the artifacts of the models and of all that they were made from.

    Args:
        stage: the one that makes the report.
        seconds: what the evaluation itself took so far.
        prompts: what the models were asked.
    """
    recipe, _, own_name = context.name.partition("/")
    nodes, artifacts = _nodes(evaluated, recipe, own_name, stage.kind, context)
    by_path = {model.source.path: model for model in evaluated if isinstance(model.source, Artifact)}
    models = [
        _model(_short(artifact.name, recipe), by_path.get(artifact.path), artifact)
        for artifact in artifacts
        if artifact.kind in ("pretrain", "finetune")
    ]
    models += [_model(model.name, model, None) for model in evaluated if isinstance(model.source, str)]
    order = {model.name: number for number, model in enumerate(evaluated)}
    return ReportData(
        title=recipe,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        machine=machine(context.device),
        seconds=seconds + sum(artifact.record.seconds for artifact in artifacts),
        models=sorted(models, key=lambda model: order.get(model.name, -1)),
        datasets=[_dataset(artifact, recipe) for artifact in artifacts if artifact.kind == "prepare"],
        tokenizers=[_tokenizer(artifact, recipe) for artifact in artifacts if artifact.kind == "tokenizer"],
        samples=[
            (
                prompt,
                {model.name: _answer(model.answers[number]) for model in evaluated if model.answers},
            )
            for number, prompt in enumerate(prompts)
        ],
        lineage=nodes,
        configs={
            **{_short(artifact.name, recipe): _yaml(artifact.record.config) for artifact in artifacts},
            own_name: _yaml(stage.model_dump(mode="json")),
        },
    )


def machine(device: str) -> str:
    """Where it runs, in words: `2 CPU cores, Linux x86_64`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    words = f"{cores} CPU core{'s' if cores > 1 else ''}"
    if device == "cuda":
        import torch

        words = torch.cuda.get_device_name()
    elif device == "mps":
        words = "Apple GPU"
    return f"{words}, {platform.system()} {platform.machine()}"


def _nodes(
    evaluated: Sequence[Evaluated], recipe: str, own_name: str, own_kind: str, context: StageContext
) -> tuple[list[Node], list[Artifact]]:
    """The lineage as nodes, what was made last first; and its artifacts, what was made first first."""
    nodes: dict[str, Node] = {}
    artifacts: list[Artifact] = []

    def visit(ancestor: Ancestor) -> str:
        key = str(ancestor.artifact.path.resolve()) if ancestor.artifact else ancestor.path
        if key in nodes:
            return key
        parents = list(dict.fromkeys(visit(origin) for origin in ancestor.parents))
        if ancestor.artifact is None:
            nodes[key] = Node(key, ancestor.name, "source")
        else:
            found = ancestor.artifact
            nodes[key] = Node(key, _short(found.name, recipe), found.kind, found.record.fingerprint, parents)
            artifacts.append(found)
        return key

    keys = []
    for model in evaluated:
        if isinstance(model.source, Artifact):
            keys.append(visit(lineage(context.workspace, model.source)))
        else:
            keys.append(model.source)
            nodes[model.source] = Node(model.source, model.name, "model")
    own = Node(context.name, own_name, own_kind, parents=keys)
    return [own, *reversed(nodes.values())], artifacts


def _short(name: str, recipe: str) -> str:
    return name.removeprefix(f"{recipe}/")


def _model(name: str, evaluated: Evaluated | None, artifact: Artifact | None) -> Model:
    parameters = artifact.metrics.get("parameters") if artifact else None
    return Model(
        name=evaluated.name if evaluated else name,
        parameters=evaluated.parameters if evaluated else parameters,
        scores=evaluated.scores if evaluated else {},
        held_out=evaluated.held_out if evaluated else "",
        training=_training(artifact) if artifact else None,
    )


def _training(artifact: Artifact) -> Training:
    log = _read_lines(artifact.path / "metrics.jsonl")
    config, metrics = artifact.record.config, artifact.metrics
    method = config.get("method") or {}
    return Training(
        kind=artifact.kind,
        objective=(config.get("objective") or {}).get("name", ""),
        method=method.get("name", "") if isinstance(method, Mapping) else str(method),
        log=log,
        tokens=metrics.get("tokens"),
        seconds=metrics.get("seconds"),
        data=_read(artifact.path / "data.json"),
        plan=_planned(_read(artifact.path / "plan.json"), metrics, log),
    )


def _planned(
    plan: Mapping[str, Any], metrics: Mapping[str, Any], log: Sequence[Mapping[str, Any]]
) -> list[Planned]:
    """Each quantity that was both estimated and measured."""
    peak = max((line["memory_bytes"] for line in log if line.get("memory_bytes")), default=None)
    measured = {"parameters": metrics.get("parameters"), "memory": peak, "seconds": metrics.get("seconds")}
    estimated = {
        "parameters": plan.get("parameters"),
        "memory": plan.get("memory_bytes"),
        "seconds": plan.get("seconds"),
    }
    return [
        Planned(quantity, float(estimate), float(found))
        for quantity, found in measured.items()
        if found is not None and (estimate := estimated[quantity]) is not None
    ]


def _dataset(artifact: Artifact, recipe: str) -> Dataset:
    statistics = _read(artifact.path / "statistics.json")
    return Dataset(
        _short(artifact.name, recipe),
        {split: counts["rows"] for split, counts in statistics["splits"].items()},
        {reason: statistics.get(reason, 0) for reason in _LEFT_OUT},
    )


def _tokenizer(artifact: Artifact, recipe: str) -> TokenizerFacts:
    fertility = _read(artifact.path / "fertility.json").get("scripts", {})
    return TokenizerFacts(_short(artifact.name, recipe), artifact.metrics["vocabulary_size"], fertility)


def _answer(generation: Generation) -> Answer:
    return Answer(generation.text, generation.finish_reason == "stop")


def _read(path: Path) -> dict[str, Any]:
    """A file of an artifact, or nothing where it has none of this name."""
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _yaml(config: Mapping[str, Any]) -> str:
    buffer = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(json.loads(json.dumps(config)), buffer)
    return buffer.getvalue().strip()
