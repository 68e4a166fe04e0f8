"""Bytes to text, so that what is not in the encoding can still be found, shown and set aside."""

from __future__ import annotations

import codecs
import io
from typing import IO


def decoded(stream: IO[bytes], encoding: str, newline: str | None = None) -> io.TextIOWrapper:
    """The stream as text, to be closed by the caller.

    A byte order mark is left out. Bytes that are not in the encoding become lone surrogates, which no text
    holds: PEP 383.

    Args:
        newline: as `open` takes it.
    """
    name = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    return io.TextIOWrapper(stream, encoding=name, errors="surrogateescape", newline=newline)
