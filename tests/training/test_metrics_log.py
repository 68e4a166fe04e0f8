"""`metrics.jsonl` after kills and resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hanji.training.metrics_log import MetricsLog


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "deep" / "metrics.jsonl")
    log.write({"step": 1, "loss": 2.5})
    assert lines(tmp_path / "deep" / "metrics.jsonl") == [{"step": 1, "loss": 2.5}]


def test_resuming_removes_the_steps_that_were_lost(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsLog(path)
    for step in (1, 2, 2, 3):
        first.write({"step": step, "loss": float(step)})
    first.close()
    second = MetricsLog(path, resumed_step=2)
    second.write({"step": 3, "loss": 30.0})
    second.close()
    assert [(line["step"], line["loss"]) for line in lines(path)] == [(1, 1.0), (2, 2.0), (2, 2.0), (3, 30.0)]
    assert [found.name for found in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("torn", [b'{"step": 2, "lo', b"\0\0\0\0\n", b"[]\n"])
def test_a_line_that_was_cut_off_is_removed(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + torn)
    MetricsLog(path, resumed_step=2).close()
    assert path.read_bytes() == b'{"step": 1}\n'


def test_a_fresh_run_begins_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    MetricsLog(path).close()
    assert path.read_bytes() == b""


def test_numbers_that_json_has_not_are_null(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"step": 1, "loss": float("nan"), "gradient_norm": float("inf")})
    assert lines(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": None, "gradient_norm": None}]
