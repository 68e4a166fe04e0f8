"""Requests as every side of benchmarks.generate reads them, and how it answers about them.

Imports nothing but the standard library: a peer's environment has no hanji.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.workers.protocol import Answer, serve

CONTEXT_STEP = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt of token ids, and how many tokens are to follow: always so many, no token ends it."""

    prompt: list[int]
    new_tokens: int
    adapter: str | None = None


@dataclass(slots=True)
class Told:
    """An answer.

    Attributes:
        first: seconds from sending the request to the first token.
        count: of the tokens, where a side does not tell their ids.
    """

    ids: list[int] = field(default_factory=list)
    first: float = -1.0
    text: str = ""
    count: int | None = None

    @property
    def tokens(self) -> int:
        """How many it has."""
        return len(self.ids) if self.count is None else self.count


Run = Callable[[Sequence[Asked]], list[Told]]
"""Answers all requests, at most `concurrency` of them at a time; the next is sent when one is answered."""


def read_requests(path: Path) -> list[Asked]:
    """What `benchmarks.traffic.write_requests` wrote."""
    return [Asked(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def context_of(asked: Sequence[Asked]) -> int:
    """Tokens of the longest prompt with its answer, rounded up."""
    longest = max(len(one.prompt) + one.new_tokens for one in asked)
    return -(-longest // CONTEXT_STEP) * CONTEXT_STEP


def threads() -> int:
    """Threads that a side may compute with: OMP_NUM_THREADS, or every usable core."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told else len(os.sched_getaffinity(0))


def in_flight(
    asked: Sequence[Asked], concurrency: int, send: Callable[[int], None], wait: Callable[[], Sequence[int]]
) -> None:
    """Keeps `concurrency` requests on their way until all are answered.

    Args:
        send: takes the request of this number.
        wait: computes, and says the numbers of those that were answered.
    """
    waiting, under_way = deque(range(len(asked))), 0
    while waiting or under_way:
        while waiting and under_way < concurrency:
            send(waiting.popleft())
            under_way += 1
        under_way -= len(wait())


def serve_run(directory: Path, run: Run, answer: Run | None = None) -> None:
    """Answers `answers` (of the first requests) and `timed` (of all) until stdin ends.

    Args:
        answer: for a side whose `run` does not tell ids.
    """

    def answers(count: int, requests: str = "requests.json") -> Answer:
        told = (answer or run)(read_requests(directory / requests)[:count])
        return {"ids": [one.ids for one in told], "texts": [one.text for one in told]}

    def timed(requests: str = "requests.json") -> Answer:
        return measure(run, read_requests(directory / requests))

    serve({"answers": answers, "timed": timed})


def measure(run: Run, asked: Sequence[Asked]) -> Answer:
    """Seconds of a run (by the clock, and of CPU), its useful tokens, and seconds to each first token.

    Raises:
        RuntimeError: an answer is not as long as was asked.
    """
    began, cpu = time.perf_counter(), time.process_time()
    told = run(asked)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    for number, (one, answer) in enumerate(zip(asked, told, strict=True)):
        if answer.tokens != one.new_tokens:
            raise RuntimeError(f"answer {number} has {answer.tokens} tokens, not {one.new_tokens}")
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "tokens": sum(one.new_tokens for one in asked),
        "first": [one.first for one in told],
    }
