"""Plans against runs, on shapes that the calibration did not see: parameters exact, memory, time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hanji.models.presets import preset_config
from hanji.recipes.plan.calibration import Calibration, measure
from hanji.recipes.plan.estimate import plan_training
from hanji.recipes.plan.rows import LearningRows
from hanji.recipes.train import PretrainSettings

RUNS: list[dict[str, Any]] = [
    {
        "model": "llama-micro",
        "vocabulary": 4096,
        "batch_tokens": 4096,
        "micro_batch_tokens": 2048,
        "length": 256,
    },
    {
        "model": "gpt2-nano",
        "vocabulary": 20_000,
        "batch_tokens": 2048,
        "micro_batch_tokens": 2048,
        "length": 512,
    },
    {
        "model": "qwen3-tiny",
        "vocabulary": 8000,
        "batch_tokens": 1024,
        "micro_batch_tokens": 512,
        "length": 128,
    },
]
STEPS = 5
ROUNDS = 3
SCRIPT = Path(__file__).with_name("measured_run.py")


@pytest.fixture(scope="module")
def rounds() -> list[tuple[Calibration, dict[str, dict[str, Any]]]]:
    """Calibrations and runs in turn, for the speed of a shared machine changes by the minute."""
    return [(measure("cpu"), {run["model"]: measured(run) for run in RUNS}) for _ in range(ROUNDS)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is measured through /proc")
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["model"])
def test_a_plan_comes_true(
    run: dict[str, Any], rounds: list[tuple[Calibration, dict[str, dict[str, Any]]]]
) -> None:
    rows = LearningRows(
        tokens=1e6, bins=1e6 / run["length"], typical=run["length"], longest=run["length"],
        trained_share=1.0,
    )  # fmt: skip
    settings = PretrainSettings(
        steps=STEPS, sequence_length=run["length"], batch_tokens=run["batch_tokens"],
        micro_batch_tokens=run["micro_batch_tokens"],
    )  # fmt: skip
    config = preset_config(run["model"], vocab_size=run["vocabulary"])
    plans = [
        plan_training(config, settings, rows, name="run", model=run["model"], device="cpu", calibration=found)
        for found, _ in rounds
    ]
    real = [found[run["model"]] for _, found in rounds]
    # the least of both, when the machine was least disturbed
    planned = min(plan.seconds for plan in plans if plan.seconds is not None) / STEPS
    seconds = min(one["seconds"] for one in real)
    growth = max(one["growth"] for one in real)
    print(
        f"\n{run['model']}: {plans[0].needed_bytes / 1e6:.0f} MB planned, {growth / 1e6:.0f} measured; "
        f"a step {planned:.3f} s planned, {seconds:.3f} measured"
    )
    assert {plan.parameters for plan in plans} == {one["parameters"] for one in real}
    assert plans[0].needed_bytes == pytest.approx(growth, rel=0.25)
    assert planned == pytest.approx(seconds, rel=0.30)


def measured(run: dict[str, Any]) -> dict[str, Any]:
    """What a run in a process of its own took."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(run | {"steps": STEPS})],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
