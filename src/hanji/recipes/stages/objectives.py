"""The objective of a stage, made and told of its surroundings: the tokenizer, the sequence, the labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hanji.contracts.errors import DataError
from hanji.contracts.labels import Labels
from hanji.contracts.protocols import Encoder, Objective, Task
from hanji.data.prepared import labels as labels_of
from hanji.data.prepared import row_kind
from hanji.objectives import OBJECTIVES
from hanji.recipes.fields import ObjectiveSettings


def make_objective(said: ObjectiveSettings | Mapping[str, Any]) -> Objective:
    """An objective by its settings, or by what a record holds of them."""
    if isinstance(said, ObjectiveSettings):
        name, options = said.name, said.options
    else:
        name, options = said["name"], {key: value for key, value in said.items() if key != "name"}
    made: Objective = OBJECTIVES.load(name)(**options)
    return made


def check_rows(objective: Objective, directories: Mapping[str, Path]) -> None:
    """Refuses prepared data of another kind than the objective learns from.

    Raises:
        DataError: naming the data and both kinds.
    """
    for name, directory in directories.items():
        kind = row_kind(directory)
        if kind != objective.rows:
            fitting = [name for name in OBJECTIVES if OBJECTIVES.load(name).rows == kind]
            raise DataError(
                f"objective {objective.name} learns from rows of kind {objective.rows}",
                where=name,
                value=kind,
                expected=objective.rows,
                hint=f"give data of that kind, or an objective that fits: {', '.join(fitting)}",
            )


def bind(
    objective: Objective,
    encoder: Encoder,
    sequence_length: int,
    directories: Iterable[Path],
    known: Labels | None = None,
) -> Labels | None:
    """Tells the objective of its surroundings; returns the labels that the model's head must have.

    Args:
        directories: prepared data. `known`: labels of the model, kept where they hold all of the data's.
    """
    own: Labels | None = getattr(objective, "labels", None)
    labels = own
    if objective.rows == "labelled":
        labels = _together([Labels.from_statistics(labels_of(directory)) for directory in directories])
        if known is not None and known.kind == labels.kind and set(labels.names) <= set(known.names):
            labels = Labels(known.kind, known.names, labels.counts)
    objective.bind(Task(encoder, sequence_length, labels))
    return labels


def _together(parts: list[Labels]) -> Labels:
    """The labels of a mixture: the first part's, and what the others add.

    Raises:
        DataError: no part, or classes here and numbers there.
    """
    if not parts:
        raise DataError("there is no labelled data", expected="prepared data whose rows have labels")
    kinds = {part.kind for part in parts}
    if len(kinds) > 1:
        raise DataError("parts of the mixture have labels of several kinds", value=sorted(kinds))
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    counts = {name: sum(part.counts.get(name, 0) for part in parts) for name in names}
    return Labels(parts[0].kind, names, counts)
