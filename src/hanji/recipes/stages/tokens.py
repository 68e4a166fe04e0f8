"""From prepared data to token stores: tokenised once for each data, tokenizer and objective."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.digest import outside_digest
from hanji.contracts.errors import ArtifactError, ConfigError
from hanji.contracts.protocols import Encoder, Objective
from hanji.data.overlong import Overlong
from hanji.data.prepared import read_rows, splits
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


@dataclass(frozen=True, slots=True)
class Encoding:
    """How rows of data become rows of tokens.

    Attributes:
        encoder: the tokenizer. `tokenizer_digest`: what stands for it.
        objective: bound to its surroundings (`stages.objectives.bind`).
        overlong: what happens to rows longer than `sequence_length`; None: what the objective does usually.
    """

    encoder: Encoder
    tokenizer_digest: str
    objective: Objective
    sequence_length: int
    overlong: Overlong | None
    context: StageContext

    @property
    def chosen_overlong(self) -> Overlong:
        """What is done with over-long rows.

        Raises:
            ConfigError: the objective's rows cannot be treated so.
        """
        allowed = self.objective.overlong
        chosen = self.overlong or allowed[0]
        if chosen not in allowed:
            raise ConfigError(
                f"rows of {self.objective.name} cannot be treated so",
                where="train.overlong",
                value=chosen,
                expected=", ".join(allowed),
            )
        return cast("Overlong", chosen)

    def key(self, data: str, split: str) -> str:
        """What stands for the tokens of a split: everything that they follow from."""
        objective = self.objective
        labels = getattr(objective, "labels", None)
        plain = {  # whatever it was told, for rows may be encoded by it
            name: value
            for name, value in vars(objective).items()
            if not name.startswith("_") and isinstance(value, str | int | float)
        }
        return _key(
            [
                _LAYOUT, data, split, self.tokenizer_digest, objective.name, self.sequence_length,
                self.chosen_overlong, plain, labels and labels.names,
            ]
        )  # fmt: skip


def token_store(data: PreparedData, split: str, encoding: Encoding) -> TokenStore | None:
    """The tokens of one split of prepared data; None where the data has no such split."""
    if not splits(data.path).get(split):
        return None
    context, objective = encoding.context, encoding.objective
    directory = context.cache / "tokens" / encoding.key(data.digest, split)
    if directory.is_dir():
        try:
            return TokenStore.open(directory)
        except ArtifactError as error:
            context.progress.note(f"{error.problem}; it is made again")

    def encode(rows: Sequence[Mapping[str, Any]]) -> Any:
        return objective.encode(rows, encoding.encoder)

    return build_token_store(
        read_rows(data.path, split), encode, directory,
        sequence_length=encoding.sequence_length, overlong=encoding.chosen_overlong,
        progress=context.progress, total_rows=splits(data.path)[split],
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
