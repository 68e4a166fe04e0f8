"""What a container leaves of the machine's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from hanji.recipes.plan import memory


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    machine = memory.available_bytes("cpu")
    assert machine > 1e8
    (tmp_path / "memory.max").write_text("2000000\n")
    (tmp_path / "memory.current").write_text("1500000\n")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 100000\n")
    assert memory.available_bytes("cpu") == 600_000
    assert memory.total_bytes() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes("cpu") > 1e8


def test_this_process_is_measured() -> None:
    assert 1e7 < memory.resident_bytes() < memory.total_bytes()
