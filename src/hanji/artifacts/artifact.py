"""An artifact: an immutable directory and the record of where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from hanji.artifacts.digest import content_digest, file_sha256
from hanji.contracts.errors import ArtifactError

RECORD: Final = "artifact.json"
HOW_IT_WENT: Final = ("metrics.jsonl", "plan.json", "data.json", "statistics.json", "trackers/")
"""Files and folders that tell of the making (times, counts): they leave what the artifact is unchanged."""


@dataclass(frozen=True, slots=True)
class Record:
    """What `artifact.json` holds.

    Attributes:
        kind: the kind of the stage that made it.
        name: `recipe/stage`.
        fingerprint: of the resolved stage and its inputs.
        config: the resolved stage.
        parents: each input by the name the stage gave it: `path` (relative to the workspace where it is an
            artifact of it), `digest`, and `name` where it is an artifact.
        seed: where its randomness came from.
        versions: of Python and the packages that matter.
        device: where it was made.
        created: ISO 8601, UTC.
        seconds: how long the making took; the last attempt, where it was cut off and resumed.
        metrics: what the stage returned.
        files: relative path → SHA-256.
    """

    kind: str
    name: str
    fingerprint: str
    config: Mapping[str, Any]
    parents: Mapping[str, Mapping[str, str]]
    seed: int
    versions: Mapping[str, str]
    device: str
    created: str
    seconds: float
    metrics: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Readable JSON, in the order of the fields."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Artifact:
    """A finished artifact on disk."""

    path: Path
    record: Record

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """The artifact in the directory `path`.

        Raises:
            ArtifactError: no record there, or not one of ours.
        """
        place = path / RECORD
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArtifactError(
                f"{path} holds no artifact", where=str(place), expected=f"a file {RECORD}"
            ) from None
        except (ValueError, OSError) as error:
            raise ArtifactError(
                "The artifact's record cannot be read", where=str(place), value=str(error)
            ) from error
        names = {item.name for item in fields(Record)}
        if not isinstance(content, dict) or set(content) != names:
            found = sorted(content) if isinstance(content, dict) else type(content).__name__
            raise ArtifactError(
                "This is not an artifact's record",
                where=str(place),
                value=found,
                expected=", ".join(sorted(names)),
            )
        return cls(path, Record(**content))

    @property
    def kind(self) -> str:
        """The kind of the stage that made it."""
        return self.record.kind

    @property
    def name(self) -> str:
        """`recipe/stage`."""
        return self.record.name

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What the stage returned."""
        return self.record.metrics

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what it is: its files, without those that only tell how the making went."""
        return content_digest(
            {path: sha for path, sha in self.record.files.items() if path not in HOW_IT_WENT}
        )

    def missing(self) -> list[str]:
        """Files of the record that are not there: a glance, where `verify` reads everything."""
        return [name for name in self.record.files if not (self.path / name).is_file()]

    def verify(self) -> None:
        """Reads every file and compares it with its checksum.

        Raises:
            ArtifactError: a file is missing or its content changed.
        """
        for name, expected in self.record.files.items():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ArtifactError(
                    "The artifact's record names a file outside of it",
                    where=str(self.path / RECORD),
                    value=name,
                )
            file = self.path / name
            if not file.is_file():
                raise ArtifactError("A file of the artifact is missing", where=str(file), hint=self._remake())
            if (found := file_sha256(file)) != expected:
                raise ArtifactError(
                    "A file of the artifact changed since it was made",
                    where=str(file),
                    value=found,
                    expected=f"SHA-256 {expected}",
                    hint=self._remake(),
                )

    def _remake(self) -> str:
        return f"make it anew: hanji run RECIPE --force {self.name.rpartition('/')[2]}"


def file_digests(directory: Path) -> dict[str, str]:
    """Relative path → SHA-256 of every file below `directory`, but the record itself."""
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): file_sha256(path)
        for path in found
        if path != directory / RECORD
    }
