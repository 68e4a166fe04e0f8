"""How long a command line takes to answer --help.

    python -m benchmarks.startup [--rounds 5]

`hanji --help` beside a bare Typer application of ten commands, and `hanji finetune --help` beside
`trl sft --help`. Each runs once before it is timed, and both sides keep what Python has compiled.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.environments import peer_environment
from benchmarks.harness import ROOT, interleave, report


def seconds(*command: str | Path) -> float:
    """Wall time of a command that must succeed."""
    # pip has compiled the peer when it installed it; ours is compiled when it first runs, if that is allowed
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=ROOT, env=environment)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    hanji = Path(sys.executable).with_name("hanji")
    trl = peer_environment("trl") / "trl"
    commands = {
        "hanji": (hanji, "--help"),
        "typer": (sys.executable, "-m", "benchmarks.workers.typer_app", "--help"),
        "ours": (hanji, "finetune", "--help"),
        "peer": (trl, "sft", "--help"),
    }
    for command in commands.values():
        seconds(*command)  # compiles what Python keeps compiled
    sides = {name: lambda command=command: seconds(*command) for name, command in commands.items()}
    figures = interleave(sides, rounds)
    report(
        "startup", figures, unit="s", more_is_better=False,
        hanji_help=figures["hanji"].median, bare_typer_help=figures["typer"].median,
    )  # fmt: skip


if __name__ == "__main__":
    main()
