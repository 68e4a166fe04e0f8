"""What the prepared rows tell of a later stage: refused as soon as they are there, before any training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hanji.contracts.errors import ConfigError, DataError, nearest
from hanji.recipes.schema import ComparedStage, FinetuneStage, PretrainStage, Stage
from hanji.recipes.support import OF_LABELS, PAIRS_DOCUMENTS

_READ: Final = ("train", "validation")


def foresee(name: str, stage: Stage, data: Mapping[str, Path]) -> None:
    """Checks a stage against its rows.

    Args:
        name: of the stage. `data`: by name, the directories of prepared data that it wants.

    Raises:
        ConfigError: a comparison by a score that rows with such labels never have.
        DataError: a split of a single document, where pairs are made of two.
    """
    if not isinstance(stage, PretrainStage | FinetuneStage | ComparedStage):
        return
    if stage.objective.name in PAIRS_DOCUMENTS:
        splits = (*_READ, "test") if isinstance(stage, ComparedStage) else _READ
        for said, directory in data.items():
            _check_documents(stage.objective.name, said, directory, splits)
    if isinstance(stage, ComparedStage) and stage.score and stage.objective.name == "classify":
        for said, directory in data.items():
            _check_score(stage.score, name, said, directory)


def _check_documents(objective: str, said: str, directory: Path, names: tuple[str, ...]) -> None:
    from hanji.data.prepared import splits

    for split, rows in splits(directory).items():
        if rows == 1 and split in names:
            raise DataError(
                f"{objective} takes half of the second texts from other documents, and there is only one",
                where=f"{said}: {split} ({directory})",
                value="1 row",
                expected="2 rows of text at least, or none in a held-out split",
                hint="prepare the text as several documents (documents: passage) or with another share"
                f" (split: {{validation: …}}), or take mlm or mlm+sop instead of {objective}",
            )


def _check_score(score: str, name: str, said: str, directory: Path) -> None:
    from hanji.data.prepared import statistics

    known = OF_LABELS.get(statistics(directory).get("labels", {}).get("kind"), ())
    if known and score not in known:
        near = nearest(score, known)
        raise ConfigError(
            f"rows of {said} have no score of this name",
            where=f"{name}.score",
            value=score,
            expected=", ".join(known),
            hint=f"did you mean {near}?" if near else None,
        )
