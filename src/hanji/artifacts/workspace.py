"""The workspace: where artifacts live, how they are found by name and how they come to be.

runs/<recipe>/<stage>/<fingerprint>/            an artifact; never changed
runs/<recipe>/<stage>/<fingerprint>-2/          the same stage made anew by force
runs/<recipe>/<stage>/<fingerprint>.partial/    being made, or cut off
runs/<recipe>/<stage>/current                   → the artifact in use
runs/.cache/                                    what can be made again: token stores
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hanji.artifacts.artifact import RECORD, Artifact, Record, file_digests
from hanji.artifacts.lock import locked
from hanji.contracts.disk import flush
from hanji.contracts.errors import ArtifactError, nearest

CURRENT: Final = "current"
PARTIAL: Final = ".partial"
_NAME: Final = re.compile(r"\w[\w.\-]{0,63}")


@dataclass(frozen=True, slots=True)
class Workspace:
    """A directory of artifacts, `runs/` by default."""

    root: Path

    @property
    def cache(self) -> Path:
        """For what can be made again."""
        return self.root / ".cache"

    def stage_directory(self, recipe: str, stage: str) -> Path:
        """Where all artifacts of a stage lie.

        Raises:
            ArtifactError: a name that could lead out of the workspace.
        """
        for part in (recipe, stage):
            if not _NAME.fullmatch(part):
                raise ArtifactError(
                    "This cannot be the name of a recipe or a stage",
                    value=part,
                    expected="letters, digits, _, - and . , beginning with a letter or digit, at most 64",
                )
        return self.root / recipe / stage

    def current(self, recipe: str, stage: str) -> Artifact | None:
        """The artifact in use, if the stage was ever made."""
        link = self.stage_directory(recipe, stage) / CURRENT
        return Artifact.open(link.resolve()) if (link / RECORD).is_file() else None

    def find(self, recipe: str, stage: str, fingerprint: str) -> Artifact | None:
        """The newest finished artifact with this fingerprint, in use or not."""
        newest = self._attempts(self.stage_directory(recipe, stage), fingerprint)[-1:]
        return Artifact.open(newest[0]) if newest else None

    def next_directory(self, recipe: str, stage: str, fingerprint: str) -> Path:
        """Where the next artifact with this fingerprint will lie."""
        directory = self.stage_directory(recipe, stage)
        done = len(self._attempts(directory, fingerprint))
        return directory / (f"{fingerprint}-{done + 1}" if done else fingerprint)

    def _attempts(self, directory: Path, fingerprint: str) -> list[Path]:
        """Finished directories of this fingerprint, oldest first: `f`, `f-2`, `f-3`."""
        numbered = [
            (int(found.name[len(fingerprint) + 1 :] or 1), found)
            for found in directory.glob(f"{fingerprint}*")
            if re.fullmatch(r"(-\d+)?", found.name[len(fingerprint) :]) and (found / RECORD).is_file()
        ]
        return [path for _, path in sorted(numbered)]

    def names(self) -> list[str]:
        """`recipe/stage` of every stage that was ever made."""
        links = sorted(self.root.glob(f"*/*/{CURRENT}"))
        return [
            f"{link.parent.parent.name}/{link.parent.name}" for link in links if (link / RECORD).is_file()
        ]

    def artifacts(self) -> list[Artifact]:
        """All artifacts in use, by recipe and stage."""
        return [Artifact.open((self.root / name / CURRENT).resolve()) for name in self.names()]

    def lookup(self, name: str) -> Artifact | None:
        """An artifact by `recipe/stage`, by its stage where that is unique, or by the path of its directory.

        Raises:
            ArtifactError: several stages are called so.
        """
        path = Path(name).expanduser()
        if (path / RECORD).is_file():
            return Artifact.open(path.resolve())
        same = [known for known in self.names() if name in (known, known.partition("/")[2])]
        if len(same) > 1:
            raise ArtifactError(
                f"Several artifacts are called {name}", value=name, expected=" or ".join(same)
            )
        return Artifact.open((self.root / same[0] / CURRENT).resolve()) if same else None

    def resolve(
        self, name: str, instead: str = "make one (hanji run RECIPE), or say where it is: --runs DIRECTORY"
    ) -> Artifact:
        """As `lookup`, where there must be one; `instead` is what to do where no name is near.

        Raises:
            ArtifactError: there is none, or several stages are called so.
        """
        found = self.lookup(name)
        if found is not None:
            return found
        known = self.names()
        near = nearest(name, [*known, *(full.partition("/")[2] for full in known)])
        raise ArtifactError(
            f"There is no artifact {name}",
            where=str(self.root),
            expected=", ".join(known) if known else "an artifact; nothing has been made here yet",
            hint=f"did you mean {near}?" if near else instead,
        )

    @contextmanager
    def making(self, recipe: str, stage: str, fingerprint: str) -> Iterator[Making]:
        """The working directory of a stage, held against other processes while the block runs.

        What an earlier attempt with this fingerprint left there is kept, so that it can be resumed. Nothing
        becomes an artifact unless `Making.commit` is called.

        Raises:
            ArtifactError: another process is making the same stage.
        """
        with locked(self.stage_directory(recipe, stage) / ".lock", f"{recipe}/{stage}"):
            target = self.next_directory(recipe, stage, fingerprint)
            work = target.with_name(target.name + PARTIAL)
            resumed = work.is_dir()
            work.mkdir(exist_ok=True)
            yield Making(target, work, resumed)

    def use(self, artifact: Artifact) -> None:
        """Points `current` at `artifact`, in one step: whoever reads sees the old one or the new one."""
        directory = artifact.path.parent
        temporary = directory / f".{CURRENT}-{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(artifact.path.name)
        temporary.replace(directory / CURRENT)
        flush(directory)


@dataclass(frozen=True, slots=True)
class Making:
    """An artifact on its way.

    Attributes:
        target: the directory it will be.
        work: where its content is written until then.
        resumed: whether an earlier attempt left something in `work`.
    """

    target: Path
    work: Path
    resumed: bool

    def commit(self, record: Record, discard: tuple[str, ...] = ("checkpoints",)) -> Artifact:
        """Makes `work` the artifact: checksums, flush to the disk, one rename.

        Args:
            record: without `files`, which are found and digested here.
            discard: directories in `work` that served the making only.
        """
        for name in discard:
            if (self.work / name).is_dir():
                shutil.rmtree(self.work / name)
        complete = replace(record, files=file_digests(self.work))
        (self.work / RECORD).write_text(complete.to_json(), encoding="utf-8")
        for path in [*self.work.rglob("*"), self.work]:
            flush(path)
        self.work.rename(self.target)
        flush(self.target.parent)
        return Artifact.open(self.target)

    def abandon(self) -> None:
        """Removes what was written, where it is of no use to a later attempt."""
        shutil.rmtree(self.work)
