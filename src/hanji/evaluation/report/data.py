"""What a report tells of: plain facts, gathered by whoever knows where they are. Absent ones are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hanji.evaluation.report.blocks import Answer


@dataclass(frozen=True, slots=True)
class Planned:
    """One quantity that was estimated beforehand.

    Attributes:
        quantity: `parameters`, `memory` (bytes) or `seconds`.
        planned, measured: the estimate, and what came of it.
    """

    quantity: str
    planned: float
    measured: float


@dataclass(frozen=True, slots=True)
class Training:
    """How a model was trained.

    Attributes:
        kind: of the stage, `pretrain` or `finetune`. `objective` and `method`: their names.
        log: the lines of `metrics.jsonl`.
        tokens: tokens seen, repetitions counted. `seconds`: what the training took.
        data: statistics of the token stores: `training` and `validation`, a list each.
        plan: estimates and measurements.
    """

    kind: str
    objective: str = ""
    method: str = ""
    log: Sequence[Mapping[str, Any]] = ()
    tokens: float | None = None
    seconds: float | None = None
    data: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    plan: Sequence[Planned] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """One of the models compared.

    Attributes:
        scores: name of the score → its figures, as the registry of scores gives them.
        held_out: what the scores were computed on.
    """

    name: str
    parameters: int | None = None
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    held_out: str = ""
    training: Training | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Prepared data: rows by split, and what was left out on the way (reason → rows)."""

    name: str
    rows: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """A tokenizer.

    Attributes:
        fertility: script → `tokens_per_word`, `characters_per_token`, `bytes_per_token`, `characters`.
    """

    name: str
    vocabulary_size: int
    fertility: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """An artifact, or a source, in the lineage; `parents` are keys of other nodes."""

    key: str
    name: str
    kind: str
    fingerprint: str = ""
    parents: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report can tell.

    Attributes:
        title: the recipe's name. `created`: ISO 8601. `machine`: where it ran, in words.
        seconds: what making everything took.
        samples: prompt → model → answer.
        configs: stage → its settings, as YAML.
    """

    title: str
    created: str = ""
    version: str = ""
    machine: str = ""
    seconds: float | None = None
    models: Sequence[Model] = ()
    datasets: Sequence[Dataset] = ()
    tokenizers: Sequence[TokenizerFacts] = ()
    samples: Sequence[tuple[str, Mapping[str, Answer]]] = ()
    lineage: Sequence[Node] = ()
    configs: Mapping[str, str] = field(default_factory=dict)
