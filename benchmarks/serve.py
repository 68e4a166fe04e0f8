"""What HTTP costs: `hanji serve` beside its engine alone.

    python -m benchmarks.serve [--model 9m|smollm2] [--rounds 3] [--requests 64]

The load comes over loopback from a second process that streams completions, as many at a time as there are
slots: one, for the time that HTTP adds until the first text is there; 16, for the share of useful tokens a
second that it costs. The engine alone is stepped in a process of its own, with the same requests, which are
others in each round. Texts of the first answers are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import ROOT, Figures, Worker, interleave, report
from benchmarks.traffic import ANSWER_TOKENS, PROMPT_TOKENS, Text, uneven, write_model, write_requests
from benchmarks.workers.traffic import threads
from hanji.generation.engine import PREFIX_BYTES
from hanji.tokenizers.tokenizer import Tokenizer

BATCH = 16
SHORT_ANSWER = 8
"""Tokens of an answer where only its first counts."""
COMPARED = 4
NAME = "model"
CONTEXT = PROMPT_TOKENS[1] + ANSWER_TOKENS[1]
START_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Ground:
    """What both comparisons stand on."""

    model: Path
    text: Text
    rounds: int
    requests: int


@contextmanager
def service(model: Path, slots: int, context: int) -> Iterator[str]:
    """`hanji serve` of the model in this directory, with a database of its own; the value is its address."""
    log = model / f"serve-{slots}.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("hanji"), "serve", model, "--port", "0", "--slots", str(slots),
                "--context", str(context), "--runs", model.with_name("runs"), "--device", "cpu",
            ],
            cwd=ROOT, stdout=output, stderr=output,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HANJI_DATABASE_URL": ""},
        )  # fmt: skip
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """What it says when it answers."""
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text(encoding="utf-8")):
            return found[0]
        time.sleep(0.1)
    raise SystemExit(f"hanji serve did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


class Sides:
    """The engine and the service with the same requests, written anew for each of a side's turns."""

    def __init__(self, model: Path, text: Text, address: str, slots: int, context: int) -> None:
        settings = {"slots": slots, "context": context, "prefix_bytes": PREFIX_BYTES, "waits_for_text": True}
        self.model, self.text = model, text
        self.workers = {
            "ours": Worker("benchmarks.workers.serve_load", model, address, model.name, str(slots)),
            "engine alone": Worker("benchmarks.workers.generate_ours", model, json.dumps(settings)),
        }
        self.found: dict[str, list[dict[str, Any]]] = {name: [] for name in self.workers}

    def write(self, rounds: int, requests: int, longest_answer: int) -> None:
        """Requests of every round, and others to compare and warm both with."""
        for number in range(-1, rounds):
            asked = uneven(self.text, requests, seed=number + 1, longest_answer=longest_answer)
            write_requests(asked, self.model / _file(number))

    def check(self) -> None:
        """Refuses to time what does not say the same."""
        texts = [
            worker.ask("answers", count=COMPARED, requests=_file(-1))["texts"]
            for worker in self.workers.values()
        ]
        if texts[0] != texts[1]:
            raise SystemExit(f"not the same work: {texts[0]} over HTTP, {texts[1]} from the engine alone")
        print(f"the same on both sides: texts of the first {COMPARED} answers")

    def turns(self, figure: Callable[[dict[str, Any]], float]) -> dict[str, Callable[[], float]]:
        """For `interleave`: the next round of each side."""

        def turn(name: str) -> float:
            told = self.workers[name].ask("timed", requests=_file(len(self.found[name])))
            self.found[name].append(told)
            return figure(told)

        return {name: partial(turn, name) for name in self.workers}

    def added_ms(self) -> list[float]:
        """By how much each first text came later over HTTP than from the engine alone."""
        pairs = zip(self.found["ours"], self.found["engine alone"], strict=True)
        return [
            1000 * (there - alone)
            for over_http, engine in pairs
            for there, alone in zip(over_http["first"], engine["first"], strict=True)
        ]

    def close(self) -> None:
        """Ends both."""
        for worker in self.workers.values():
            worker.close()


def compare(
    ground: Ground, slots: int, longest_answer: int, figure: Callable[[dict[str, Any]], float]
) -> tuple[dict[str, Figures], Sides]:
    """Both sides in turns, at so many requests at a time."""
    print(f"concurrency {slots}")
    with service(ground.model, slots, CONTEXT) as address:
        sides = Sides(ground.model, ground.text, address, slots, CONTEXT)
        sides.write(ground.rounds, ground.requests, longest_answer)
        sides.check()
        figures = interleave(sides.turns(figure), ground.rounds)
        sides.close()
    return {"ours": figures["ours"], "peer": figures["engine alone"]}, sides


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("9m", "smollm2"), default="9m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / NAME
        parameters = write_model(arguments.model, model)
        text = Text(Tokenizer.load(model))
        ground = Ground(model, text, arguments.rounds, arguments.requests)
        print(
            f"a Llama of {parameters:,} parameters, {arguments.requests} requests, {threads()} threads a side"
        )
        more = {
            "against": "engine alone", "model": arguments.model, "parameters": parameters,
            "requests": arguments.requests, "threads": threads(),
        }  # fmt: skip
        figures, sides = compare(ground, 1, SHORT_ANSWER, lambda told: 1000 * median(told["first"]))
        report(
            "serve-first-token", figures, unit="ms to the first text", more_is_better=False,
            added_ms=median(sides.added_ms()), concurrency=1, slots=1, **more,
        )  # fmt: skip
        figures, _ = compare(
            ground, BATCH, ANSWER_TOKENS[1], lambda told: float(told["tokens"] / told["seconds"])
        )
        ours, alone = figures["ours"], figures["peer"]
        lost = [100 * (1 - one / other) for one, other in zip(ours.values, alone.values, strict=True)]
        report(
            "serve", figures, unit="useful tokens/s", lost_percent=100 * (1 - ours.median / alone.median),
            lost_percent_of_rounds=median(lost), concurrency=BATCH, slots=BATCH, **more,
        )  # fmt: skip


def _file(number: int) -> str:
    return f"requests-{number}.json"


if __name__ == "__main__":
    main()
