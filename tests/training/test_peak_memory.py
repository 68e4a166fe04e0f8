"""The highest memory of a stage, on Linux and where the kernel does not help."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hanji.training import peak_memory
from hanji.training.peak_memory import PeakMemory

MB = 2**20


def test_what_came_and_went_counts_and_what_was_before_does_not() -> None:
    before = torch.ones(150 * MB, dtype=torch.uint8)
    del before
    held = torch.ones(100 * MB, dtype=torch.uint8)
    peak = PeakMemory(torch.device("cpu"))
    assert peak.grown_bytes() < 40 * MB
    passing = torch.ones(200 * MB, dtype=torch.uint8)
    del passing
    assert 195 * MB < peak.grown_bytes() < 240 * MB
    again = PeakMemory(torch.device("cpu"))
    assert again.grown_bytes() < 40 * MB, "each begins anew"
    assert held.numel() == 100 * MB


def test_where_the_kernel_keeps_its_peak_steps_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak_memory, "_CLEAR", tmp_path / "absent" / "clear_refs")
    peak = PeakMemory(torch.device("cpu"))
    passing = torch.ones(200 * MB, dtype=torch.uint8)
    peak(None, None)  # type: ignore[arg-type]
    del passing
    assert 195 * MB < peak.grown_bytes() < 240 * MB
