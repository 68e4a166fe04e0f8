"""`metrics.jsonl`: a line of metrics at a time, which a resumed run continues without repeating a step."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class MetricsLog:
    """Appends metrics to a file of JSON lines, each handed to the system before the next step.

    Args:
        path: `metrics.jsonl`.
        resumed_step: lines after this step are of work that was lost, and are removed; 0 begins anew.
    """

    def __init__(self, path: Path, *, resumed_step: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _truncate_after(path, resumed_step)
        self._file = path.open("a", encoding="utf-8")

    def write(self, metrics: Mapping[str, Any]) -> None:
        """One line; `metrics` names its `step`. A number that is not finite is written as null."""
        assert "step" in metrics, "a line of metrics without its step cannot be resumed"
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in metrics.items()
        }
        self._file.write(json.dumps(finite, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def _step(line: bytes) -> float:
    """The step of a line; infinite where a power failure left something else."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _truncate_after(path: Path, step: int) -> None:
    """Keeps the lines up to `step`, and none that a killed process left unfinished."""
    kept = []
    if step > 0 and path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n") or _step(line) > step:
                break  # lines are in the order of their steps
            kept.append(line)
    shortened = path.with_name(f"{path.name}.tmp")
    with shortened.open("wb") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    shortened.replace(path)
