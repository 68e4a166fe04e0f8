"""One export from check to rename: nothing is there until it was written, read back and found the same."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hanji.artifacts.artifact import RECORD
from hanji.contracts.disk import flush
from hanji.contracts.errors import ArtifactError, ConfigError
from hanji.contracts.progress import Progress, Silent
from hanji.export import EXPORTS
from hanji.export.comparison import Comparison
from hanji.export.subject import Subject


class Exporter(Protocol):
    """A format. Its options are the arguments of `__init__`.

    Attributes:
        ending: of a name: `.gguf` for a file, `-merged` for a directory.
        mark: a file that tells a directory of this format from others; nothing where the export is a file.
    """

    @property
    def ending(self) -> str: ...
    @property
    def mark(self) -> str | None: ...

    def check(self, subject: Subject) -> None:
        """Refuses what the format cannot hold, before anything is written.

        Raises:
            HanjiError: what, and why.
        """

    def write(self, subject: Subject, work: Path, target: Path, progress: Progress) -> None:
        """Writes to `work`, a file that is not there or an empty directory, which will be `target`."""

    def compare(self, subject: Subject, work: Path, progress: Progress) -> list[Comparison]:
        """Reads it back as others will, and holds it against the model.

        Raises:
            ModelError: it is not the same.
        """


@dataclass(frozen=True, slots=True)
class Exported:
    """What was made: where it is, and what it was compared with."""

    path: Path
    comparisons: tuple[Comparison, ...]


def make_exporter(format: str, options: Mapping[str, Any]) -> Exporter:
    """The format by its name with those of its options that are given.

    Raises:
        ConfigError: no such format, or an option that it has not.
    """
    made = EXPORTS.load(format)
    known = list(inspect.signature(made).parameters)
    for name in options:
        if name not in known:
            raise ConfigError(
                f"an export to {format} has no option --{name}",
                where=f"--{name}",
                value=options[name],
                expected=", ".join(f"--{option}" for option in known) or "no options",
            )
    exporter: Exporter = made(**options)
    return exporter


def export(
    source: str,
    format: str,
    out: Path | None = None,
    *,
    name: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Exported:
    """Exports the model at `source`.

    Args:
        out: the file or directory to make; by default `NAME` and the format's ending, here.
        name: for that default; by default the last part of `source`.
        force: replaces what lies there, where it is an export too.
        options: of the format; those that are None are left to it.

    Raises:
        HanjiError: it cannot be exported so, something lies there already, or what was written is not the
            model. Then nothing is there that was not there before.
    """
    progress = progress or Silent()
    given = {option: value for option, value in options.items() if value is not None}
    exporter = make_exporter(format, given)
    target = _target(exporter, out, name or source)
    _check_free(exporter, target, force)
    subject = Subject(source)
    exporter.check(subject)
    with _aside(target, exporter.mark is not None) as work:
        exporter.write(subject, work, target, progress)
        compared = exporter.compare(subject, work, progress)
        for path in [*work.rglob("*"), work]:
            flush(path)
        _replace(work, target)
    return Exported(target, tuple(compared))


def _target(exporter: Exporter, out: Path | None, name: str) -> Path:
    own = Path(Path(name).stem if name.endswith(".gguf") else Path(name).name).name + exporter.ending
    if out is None:
        return Path(own)
    inside = exporter.mark is None and out.is_dir()
    return out / own if inside else out


def _check_free(exporter: Exporter, target: Path, force: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not force:
        raise ArtifactError(
            "there is something of this name already", where=str(target),
            hint="give another place with --out, or replace it with --force",
        )  # fmt: skip
    same = target.is_file() if exporter.mark is None else (target / exporter.mark).is_file()
    if not same or (target / RECORD).exists():
        raise ArtifactError(
            "what lies there is no export of this kind, and --force replaces nothing else",
            where=str(target),
            expected="a file" if exporter.mark is None else f"a directory with {exporter.mark}",
            hint="give another place with --out, or move it away",
        )


@contextmanager
def _aside(target: Path, is_directory: bool) -> Iterator[Path]:
    """A name beside the target, with its ending, in the same file system; nothing is left under it."""
    work = target.absolute().with_name(f".partial-{os.getpid()}-{target.name}")
    work.parent.mkdir(parents=True, exist_ok=True)
    if is_directory:
        work.mkdir()
    try:
        yield work
    finally:
        _remove(work)


def _replace(work: Path, target: Path) -> None:
    old = work.with_name(work.name.replace(".partial-", ".old-"))
    if target.is_dir():
        target.rename(old)
    work.replace(target)
    flush(target.absolute().parent)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
