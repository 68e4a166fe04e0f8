"""Digests of content: what makes two artifacts, or two inputs, the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

WHOLE_FILE_BYTES: Final = 64 * 2**20
"""Files up to this size count by their content; larger ones by size, time of change, and both ends."""
_END_BYTES: Final = 2**20
FINGERPRINT_CHARACTERS: Final = 12


def file_sha256(path: Path) -> str:
    """SHA-256 of the whole file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical(value: Any) -> bytes:
    """The one JSON of a value: sorted keys, no blanks, so that equal values have equal bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def fingerprint(value: Any) -> str:
    """A short name for a value, the same wherever and whenever it is computed."""
    return hashlib.sha256(canonical(value)).hexdigest()[:FINGERPRINT_CHARACTERS]


def content_digest(files: dict[str, str]) -> str:
    """One digest for a set of files given as relative path → SHA-256."""
    return hashlib.sha256(canonical(files)).hexdigest()


def outside_digest(paths: list[Path], root: Path | None = None) -> str:
    """What stands for files that no artifact holds, in the fingerprint of what is made from them.

    Small files count by content, so that copying or touching them changes nothing. Files above
    `WHOLE_FILE_BYTES` count by size, time of change and their first and last mebibyte, since reading
    all of a large corpus to say "everything is made" would take longer than the answer is worth.

    Args:
        paths: files and directories; a directory stands for all files below it that are not hidden.
        root: paths count relative to it; by default by their names alone.
    """
    seen: dict[str, str] = {}
    for path in paths:
        below = sorted(found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]
        base = root or path.parent
        for file in below:
            relative = file.relative_to(base)
            if file == path or not any(part.startswith(".") for part in file.relative_to(path).parts):
                seen[relative.as_posix()] = _file_digest(file)
    return content_digest(seen)


def _file_digest(path: Path) -> str:
    status = path.stat()
    if status.st_size <= WHOLE_FILE_BYTES:
        return file_sha256(path)
    with path.open("rb") as stream:
        head = stream.read(_END_BYTES)
        stream.seek(-_END_BYTES, 2)
        ends = hashlib.sha256(head + stream.read()).hexdigest()
    return f"{status.st_size}:{status.st_mtime_ns}:{ends}"
