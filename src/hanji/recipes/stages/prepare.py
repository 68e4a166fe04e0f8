"""`prepare`: sources become prepared data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hanji.artifacts.artifact import Artifact
from hanji.data.cleaning import Cleaning
from hanji.data.prepare import prepare
from hanji.data.sources import Source
from hanji.recipes.context import StageContext
from hanji.recipes.schema import PrepareStage


def make(
    stage: PrepareStage, inputs: Mapping[str, Artifact | str], work: Path, context: StageContext
) -> dict[str, Any]:
    """Reads, cleans, splits and counts; the metrics are the statistics."""
    assert not inputs, "a prepare stage refers to no other stage"
    sources = []
    for given in stage.source:
        settings = given.model_dump()
        if given.format == "auto":
            settings["format"] = stage.format
        sources.append(Source(**settings))
    return prepare(
        sources,
        work,
        split=stage.split.model_dump(),
        deduplicate=stage.deduplicate,
        clean=Cleaning(**stage.clean.model_dump()),
        decontaminate=stage.decontaminate,
        on_error=stage.on_error,
        limit=stage.limit,
        seed=context.seed,
        progress=context.progress,
    )
