"""Memory of this process, as Linux counts it."""

from __future__ import annotations

import re
from pathlib import Path


def resident_bytes() -> int:
    """Memory in use now."""
    return _status("VmRSS")


def highest_resident_bytes() -> int:
    """The most that was in use at any time."""
    return _status("VmHWM")


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None, "Linux tells it"
    return int(found[1]) * 1024
