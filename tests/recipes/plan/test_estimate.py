"""Plans of stages: steps, times, what does not fit and what would."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hanji.contracts.errors import ResourceError
from hanji.models.presets import preset_config
from hanji.recipes.plan import calibration, check, estimate
from hanji.recipes.plan.calibration import Calibration
from hanji.recipes.plan.rows import LearningRows, mixed
from hanji.recipes.train import PretrainSettings, TrainSettings

ROWS = LearningRows(tokens=9000, bins=100, typical=50, longest=64, trained_share=0.9, held_out_tokens=640)
DEVICE = Calibration("a device", ((64, 1e10),), ((64, 1e10),), ((64, 1e10),), 1e10, 1e-5, 1e-10, 0.0, False)


def settings(**changes: object) -> TrainSettings:
    said: dict[str, object] = {
        "epochs": 2,
        "sequence_length": 128,
        "batch_tokens": 512,
        "micro_batch_tokens": 256,
    }
    if {"steps", "tokens"} & set(changes):
        said.pop("epochs")
    return PretrainSettings.model_validate(said | changes)


def plan(**changes: object) -> estimate.StagePlan:
    config = preset_config("llama-nano", vocab_size=300)
    return estimate.plan_training(
        config, settings(**changes), ROWS, name="base", model="llama-nano", device="cpu", calibration=DEVICE
    )


def test_steps_are_those_of_the_stream() -> None:
    # 100 bins of an epoch, 4 in a batch, 90 tokens in a bin
    assert (plan().steps, plan().tokens) == (50, 50 * 4 * 90)
    assert plan(steps=7).tokens == 7 * 360
    assert plan(tokens=3601).steps == math.ceil(3601 / 360)


def test_time_grows_with_tokens_and_counts_evaluation() -> None:
    once, twice = plan(steps=10, evaluate_every=0), plan(steps=20, evaluate_every=0)
    assert once.seconds and twice.seconds and once.evaluation_seconds
    training = once.seconds - once.evaluation_seconds
    assert twice.seconds - once.seconds == pytest.approx(training)
    assert once.tokens_per_second == pytest.approx(once.tokens / training)
    often = plan(steps=10, evaluate_every=2)
    assert often.evaluation_seconds == pytest.approx(5 * once.evaluation_seconds)
    assert once.flops == pytest.approx(once.tokens * once.flops_per_token)


def test_without_knowing_the_data_an_epoch_has_no_length() -> None:
    rows = LearningRows.unknown("corpus", 128)
    found = estimate.plan_training(
        preset_config("llama-nano", vocab_size=300), settings(), rows, name="b", model="m", device="cpu"
    )
    assert found.steps is None and found.seconds is None and found.flops is None
    assert "corpus is not prepared yet" in found.assumed[0]
    assert found.needed_bytes > 0


def test_mixtures_end_with_their_first_part() -> None:
    first = LearningRows(1000, 10, 50, 100, 1.0, 5.0)
    second = LearningRows(3000, 60, 30, 120, 0.5, 7.0)
    even = mixed([first, second], [1, 1])
    assert (even.tokens, even.held_out_tokens, even.longest) == (2000, 12, 120)
    assert even.bins == pytest.approx(1000 / 100 + 1000 / 50)
    by_size = mixed([first, second], None)
    assert by_size.tokens == pytest.approx(4000)


def test_plan_json_holds_what_the_report_reads(tmp_path: Path) -> None:
    found = plan()
    found.save(tmp_path / "plan.json")
    saved = json.loads((tmp_path / "plan.json").read_text())
    assert saved["parameters"] == found.parameters
    assert saved["seconds"] == found.seconds
    assert saved["memory_bytes"] == pytest.approx(found.needed_bytes + found.process_bytes)
    assert set(saved["memory"]) >= {"weights", "gradients", "optimizer", "activations", "logits"}


def ensure(free: float, monkeypatch: pytest.MonkeyPatch, **changes: object) -> estimate.StagePlan:
    monkeypatch.setattr(estimate, "available_bytes", lambda device: free)
    return check.ensure_fits(
        preset_config("llama-micro", vocab_size=2000), settings(**changes), ROWS_LONG,
        name="base", model="llama-micro", device="cpu", measure=False,
    )  # fmt: skip


ROWS_LONG = LearningRows(tokens=1e6, bins=4000, typical=100, longest=128, trained_share=1.0)
WIDE = {"micro_batch_tokens": 4096, "batch_tokens": 8192, "steps": 1}


def test_what_fits_is_let_through_and_what_does_not_is_refused_with_what_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = ensure(1e12, monkeypatch, **WIDE).needed_bytes
    assert ensure(needed, monkeypatch, **WIDE).fits
    with pytest.raises(
        ResourceError, match=r"micro_batch_tokens: 2048.*activation_checkpointing: true"
    ) as caught:
        ensure(0.8 * needed, monkeypatch, **WIDE)
    assert "free on cpu" in caught.value.problem
    # the first suggestion really fits
    assert ensure(0.8 * needed, monkeypatch, **(WIDE | {"micro_batch_tokens": 2048})).fits


def test_a_smaller_preset_is_suggested_where_no_setting_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceError, match="model: llama-nano"):
        ensure(75e6, monkeypatch, micro_batch_tokens=128, batch_tokens=128, steps=1)
    with pytest.raises(ResourceError, match="no setting makes llama-micro fit"):
        ensure(1e6, monkeypatch, micro_batch_tokens=128, batch_tokens=128, steps=1)


def test_a_calibration_is_kept_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured: list[str] = []

    def measure(device: str) -> Calibration:
        measured.append(device)
        return DEVICE

    monkeypatch.setattr(calibration, "measure", measure)
    assert calibration.kept("cpu") is None
    assert calibration.calibrated("cpu") == DEVICE == calibration.calibrated("cpu") == calibration.kept("cpu")
    assert measured == ["cpu"]
    calibration.calibrated("cpu", again=True)
    assert measured == ["cpu", "cpu"]
    (kept,) = (tmp_path / "hanji" / "calibration").glob("*.json")
    kept.write_text("{cut off")
    assert calibration.calibrated("cpu") == DEVICE
    assert len(measured) == 3


def test_rates_are_read_between_the_measured_ones() -> None:
    assert calibration._rate(((10.0, 1.0), (1000.0, 100.0)), 100) == pytest.approx(10)
    assert calibration._rate(((10.0, 1.0), (1000.0, 100.0)), 5) == pytest.approx(1)


def test_the_fit_finds_known_coefficients() -> None:
    import numpy as np

    features = np.array([[1.0, 5.0, 0.0], [2.0, 1.0, 1.0], [1.0, 1.0, 7.0], [4.0, 2.0, 2.0]])
    found = calibration._fit_positive(features, features @ [0.5, 2.0, 0.25])
    assert found == pytest.approx([0.5, 2.0, 0.25], rel=1e-6)
    assert (calibration._fit_positive(features, features @ [1.0, 1.0, -1.0]) >= 0).all()
