"""Progress in a log and on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from hanji.artifacts.artifact import Artifact, Record
from hanji.cli import progress as module
from hanji.cli.progress import LogProgress, TerminalProgress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def artifact() -> Artifact:
    metrics = {"parameters": 1000, "validation_loss": 3.0}
    record = Record("pretrain", "q/base", "abc", {}, {}, 0, {}, "cpu", "2025", 61.0, metrics)
    return Artifact(Path("runs/q/base/abc"), record)


def test_a_log_gets_a_line_now_and_then_and_the_last(clock: Clock) -> None:
    stream = io.StringIO()
    log = LogProgress(stream)
    log.begins("base", 2, 3, resumed=True)
    for step in range(1, 101):
        clock.now += 1
        log.advance("training", step, 100, loss=4.0, tokens_per_second=1900)
    log.note("a note")
    log.made(artifact())
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[2/3] base: goes on from where it was cut off"
    assert lines[1] == "  training 11/100 · loss 4.000 · 1,900 tokens/s · 1m 29s left"
    assert len(lines) == 1 + 10 + 2
    assert lines[-3] == "  training 100/100 · loss 4.000 · 1,900 tokens/s"
    assert lines[-2] == "  a note"
    assert lines[-1] == "q/base: made in 1m 01s · validation loss 3.000 · 1,000 parameters"


def test_what_remains_counts_from_where_a_resumed_phase_began(clock: Clock) -> None:
    stream = io.StringIO()
    log = LogProgress(stream)
    log.advance("training", 50, 100)
    clock.now += 10
    log.advance("training", 60, 100)
    assert "40s left" in stream.getvalue()


def test_a_terminal_shows_bars_and_keeps_one_line_for_each_stage(clock: Clock) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    shown = TerminalProgress(console)
    shown.begins("base", 2, 3, resumed=False)
    shown.advance("training", 20, 100, loss=4.0)
    clock.now += 10
    shown.advance("training", 40, 100, loss=3.9)
    picture = io.StringIO()
    Console(file=picture, width=100, color_system=None).print(shown._picture())
    first, second = (line.rstrip() for line in picture.getvalue().splitlines())
    assert first.endswith("base           2 of 3 10s")
    assert second.startswith("    training ━")
    assert second.endswith("40/100 loss 3.900 · 30s left")
    shown.made(artifact())
    shown.close()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "✓ base" in text.splitlines()[-1]
    assert "1m 01s   validation loss 3.000 · 1,000 parameters" in text
