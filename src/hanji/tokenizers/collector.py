"""Python's garbage collector, held back while a vocabulary is read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """No collection in the block.

    A vocabulary in JSON is many thousand lists, none of them garbage. Their number makes the collector look
    through all that torch and transformers have imported, which takes longer than to read them.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
