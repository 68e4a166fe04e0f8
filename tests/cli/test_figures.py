"""Figures read as people write them."""

from __future__ import annotations

import pytest

from hanji.cli import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (12.4, "12s"), (59.6, "1m 00s"), (151, "2m 31s"), (11_100, "3h 05m")],
)
def test_seconds(value: float, text: str) -> None:
    assert figures.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (1900, "1.9 kB"), (1.234e9, "1.2 GB"), (2.5e11, "250 GB")]
)
def test_size(value: float, text: str) -> None:
    assert figures.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(950, "950"), (12_400, "12,400"), (2.64e6, "2.6 M"), (1.3e9, "1.3 B")]
)
def test_count(value: float, text: str) -> None:
    assert figures.count(value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("loss", 4.2134, "loss 4.213"),
        ("loss", 0.01234, "loss 0.01234"),
        ("rows", 1200, "1,200 rows"),
        ("memory_bytes", 1.9e9, "1.9 GB"),
        ("tokens_per_second", 1903.2, "1,903 tokens/s"),
        ("learning_rate", 0.0003, "learning rate 0.0003"),
    ],
)
def test_figure(name: str, value: float, text: str) -> None:
    assert figures.figure(name, value) == text


def test_summary() -> None:
    assert (
        figures.summary({"splits": {"train": {"rows": 64}, "validation": {"rows": 2}}})
        == "64 train rows · 2 validation rows"
    )
    told = figures.summary({"parameters": 2_640_000, "validation_loss": 3.21, "other": {"x": 1}})
    assert told == "validation loss 3.210 · 2.6 M parameters"
