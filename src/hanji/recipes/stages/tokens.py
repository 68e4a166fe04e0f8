"""From prepared data to token stores: tokenised once for each data, tokenizer and objective."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.digest import outside_digest
from hanji.contracts.errors import ArtifactError, DataError
from hanji.contracts.protocols import Encoder, Objective
from hanji.data.overlong import Overlong
from hanji.data.prepared import read_rows, row_kind, splits
from hanji.data.token_store import TokenStore, build_token_store
from hanji.recipes.context import StageContext

_LAYOUT = 2
"""Raised when stores of older versions must not be used again."""


@dataclass(frozen=True, slots=True)
class PreparedData:
    """A directory of prepared data, and what stands for its content."""

    path: Path
    name: str
    digest: str


def prepared(source: Artifact | str) -> PreparedData:
    """The data of a stage: an artifact, or a directory of prepared data."""
    if isinstance(source, Artifact):
        return PreparedData(source.path, source.name, source.digest)
    return PreparedData(Path(source), source, outside_digest([Path(source)]))


def token_store(
    data: PreparedData,
    split: str,
    *,
    encoder: Encoder,
    tokenizer_digest: str,
    objective: Objective,
    sequence_length: int,
    overlong: Overlong | None,
    context: StageContext,
) -> TokenStore | None:
    """The tokens of one split of prepared data; None where the data has no such split.

    Args:
        overlong: what happens to rows longer than `sequence_length`; None: text is split, the rest dropped.

    Raises:
        DataError: the rows are not of the kind that the objective learns from.
    """
    if not splits(data.path).get(split):
        return None
    kind = row_kind(data.path)
    if kind != objective.rows:
        raise DataError(
            f"objective {objective.name} learns from rows of kind {objective.rows}",
            where=data.name,
            value=kind,
            expected=objective.rows,
            hint="give data of that kind, or the objective that fits: clm for text, sft for chats",
        )
    chosen: Overlong = overlong or ("split" if objective.rows == "text" else "drop")
    directory = context.cache / "tokens" / _key(
        [_LAYOUT, data.digest, split, tokenizer_digest, objective.name, sequence_length, chosen]
    )  # fmt: skip
    if directory.is_dir():
        try:
            return TokenStore.open(directory)
        except ArtifactError as error:
            context.progress.note(f"{error.problem}; it is made again")

    def encode(rows: Sequence[Mapping[str, Any]]) -> Any:
        return objective.encode(rows, encoder)

    return build_token_store(
        read_rows(data.path, split), encode, directory,
        sequence_length=sequence_length, overlong=chosen, progress=context.progress,
        total_rows=splits(data.path)[split],
    )  # fmt: skip


def digest_of(source: Artifact | str) -> str:
    """What stands for a tokenizer in a key: the digest of an artifact, of files at a path, or of a hub id."""
    if isinstance(source, Artifact):
        return source.digest
    path = Path(source)
    return outside_digest([path]) if path.exists() else _key([source])


def location(source: Artifact | str) -> str:
    """Where a loader finds it: an artifact's directory, or the path or hub id as it is."""
    return str(source.path) if isinstance(source, Artifact) else source


def _key(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
