"""Runs two sides in turns and says how they compare: medians, spread, and one line of JSON at the end."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Worker:
    """One side of a comparison: a process that waits for questions while the other side runs.

    Args:
        module: a module that calls `workers.protocol.serve`.
        python: the interpreter of its environment.

    Raises:
        RuntimeError: from `ask`, when the process ends without an answer; its output is in the message.
    """

    def __init__(self, module: str, *arguments: str | Path, python: str | Path = sys.executable) -> None:
        self.module = module
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the worker)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
        self.process = subprocess.Popen(
            [str(python), "-m", module, *map(str, arguments)],
            cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip

    def ask(self, do: str, **question: Any) -> dict[str, Any]:
        """The answer to one question; waits for it."""
        assert self.process.stdin and self.process.stdout, "both are pipes"
        try:
            self.process.stdin.write(json.dumps({"do": do, **question}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the process has ended: its log, read below, says why
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise RuntimeError(f"{self.module} ended without an answer:\n{self.log.read()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()
        self.log.close()


@dataclass(frozen=True, slots=True)
class Figures:
    """What one side measured, in its order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """(largest − smallest) / median."""
        return (max(self.values) - min(self.values)) / self.median

    def text(self, unit: str) -> str:
        runs = ", ".join(f"{value:,.4g}" for value in self.values)
        return f"{self.median:,.4g} {unit} (spread {self.spread:.0%}; {runs})"


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Figures]:
    """Measures every side once a round; the order is turned round each time."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(rounds):
        for name in list(sides)[:: -1 if index % 2 else 1]:
            measured[name].append(sides[name]())
            print(f"  round {index + 1} of {rounds}: {name} {measured[name][-1]:,.4g}", flush=True)
    return {name: Figures(tuple(values)) for name, values in measured.items()}


def same(what: str, ours: float, peers: float, relative: float = 0.0) -> None:
    """Refuses to time two sides that do not do the same work."""
    if abs(ours - peers) > relative * abs(peers):
        raise SystemExit(f"not the same work: {what} is {ours!r} with us and {peers!r} with the peer")
    print(f"the same on both sides: {what} = {ours:.8g}")


def report(
    name: str, figures: Mapping[str, Figures], *, unit: str, more_is_better: bool = True, **more: Any
) -> None:
    """Prints both sides, and the last line: JSON with `name`, `ours`, `peer`, `ratio`.

    `ratio` is above 1 where ours is better.
    """
    ours, peer = figures["ours"], figures["peer"]
    for side, values in figures.items():
        print(f"{side:>12}: {values.text(unit)}")
    line = {
        "name": name, "ours": ours.median, "peer": peer.median, "ratio": ratio(ours, peer, more_is_better),
        "unit": unit, "ours_spread": ours.spread, "peer_spread": peer.spread, **more, "machine": machine(),
    }  # fmt: skip
    print(json.dumps({key: _rounded(value) for key, value in line.items()}, ensure_ascii=False))


def ratio(ours: Figures, peer: Figures, more_is_better: bool = True) -> float:
    """How many times better ours is, by medians."""
    return ours.median / peer.median if more_is_better else peer.median / ours.median


def machine() -> str:
    """Processor, usable cores and system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores, {platform.system()}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines: Sequence[str] = information.read_text().splitlines() if information.exists() else ()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
