"""Finding files (paths, directories, globs, archives, any address that fsspec opens) and opening them."""

from __future__ import annotations

import gzip
import io
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import IO, Any, cast

import fsspec
import pyarrow as pa
from fsspec.implementations.zip import ZipFileSystem

from hanji.contracts.errors import DataError

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a source, not opened yet.

    Attributes:
        address: how people name it.
        suffix: the ending that tells its format, without that of the compression, in lower case.
        compression: `gzip`, `zstd`, `bz2`, or None.
        size: bytes as stored; 0 where the file system does not say.
    """

    address: str
    suffix: str
    compression: str | None
    size: int
    filesystem: Any
    path: str

    def open_raw(self) -> IO[bytes]:
        """The bytes as stored."""
        return cast("IO[bytes]", self.filesystem.open(self.path, "rb"))


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files of a source in a stable order, and those passed over because of their ending."""

    files: list[DataFile]
    passed_over: list[str]


def find_files(path: str, suffixes: Collection[str], *, any_ending: bool = False) -> FoundFiles:
    """The files that `path` means.

    A directory gives the files in it, at any depth, whose ending is among `suffixes`; a glob, all that it
    matches; an archive, its members like a directory. Hidden files are left out of both. With `any_ending`,
    where none has an ending among `suffixes`, all files are taken.

    Raises:
        DataError: there is no such file, or none with a known ending.
    """
    filesystem, inner = fsspec.core.url_to_fs(path)
    whole = filesystem.isdir(inner)
    if filesystem.isfile(inner):
        names = [inner]
    else:
        found = filesystem.find(inner) if whole else filter(filesystem.isfile, filesystem.glob(inner))
        names = sorted(name for name in found if not _hidden(name, inner if whole else ""))
    named: list[DataFile] = []
    listed: list[DataFile] = []
    for name in names:
        if name.lower().endswith(".zip"):
            listed += _members(filesystem, name)
        else:
            (listed if whole else named).append(_data_file(filesystem, name))
    known = [file for file in listed if file.suffix in suffixes]
    if any_ending and not known:
        known = listed
    if not named and not known:
        raise _nothing_found(path, [file.address for file in listed], suffixes)
    return FoundFiles(named + known, [file.address for file in listed if file not in known])


def exists(path: str) -> bool:
    """Whether `path` is a file, a directory or a glob that matches something."""
    filesystem, inner = fsspec.core.url_to_fs(path)
    return bool(filesystem.exists(inner) or filesystem.glob(inner))


def decompressed(raw: IO[bytes], compression: str | None) -> IO[bytes]:
    """The bytes of a file as they were before compression, read as a stream."""
    if compression is None:
        return raw
    if compression == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw, mode="rb"))
    stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)
    return cast("IO[bytes]", io.BufferedReader(_Readable(stream), buffer_size=1 << 18))


class _Readable(io.RawIOBase):
    """Arrow's decompressing stream with the interface of Python's raw streams."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _data_file(filesystem: Any, name: str) -> DataFile:
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    compression = _COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    size = int(filesystem.size(name) or 0)
    return DataFile(name, suffixes[-1] if suffixes else "", compression, size, filesystem, name)


def _members(filesystem: Any, name: str) -> list[DataFile]:
    archive = ZipFileSystem(fo=filesystem.open(name, "rb"))
    members = [_data_file(archive, member) for member in sorted(archive.find(""))]
    return [
        replace(file, address=f"{name}/{file.path}") for file in members if not _hidden(f"/{file.path}", "/")
    ]


def _hidden(name: str, below: str) -> bool:
    inner = name.removeprefix(below) if below else PurePosixPath(name).name
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(inner).parts)


def _nothing_found(path: str, files: list[str], suffixes: Collection[str]) -> DataError:
    if files:
        return DataError(
            "no file here has an ending that tells its format",
            where=path,
            value=files[:5],
            expected="one of " + " ".join(sorted(suffixes)) + ", also with .gz, .zst or .bz2 after it",
            hint="set the source's `format`, or name the files with a glob",
        )
    return DataError(
        "there is no such file, directory or glob",
        where=path,
        expected="a path, a glob, an address that fsspec opens, a hub id, python-docs, python-questions",
    )
