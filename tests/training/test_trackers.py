"""Trackers through accelerate, with one of our own in the place of a service."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from accelerate import tracking

from hanji.contracts.errors import ConfigError
from hanji.training import trackers
from hanji.training.trackers import Trackers


class JsonLines(tracking.GeneralTracker):  # type: ignore[misc]
    """Writes what it is told to a file, in the way accelerate's own trackers are built."""

    name = "trackio"
    requires_logging_directory = False

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self.told: list[Any] = [["made", run_name, options]]

    @tracking.on_main_process
    def start(self) -> None:
        tracking.logger.debug("fails where accelerate's state was not made")
        self.told.append(["started"])

    @property
    def tracker(self) -> list[Any]:
        return self.told

    @tracking.on_main_process
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(["config", values])

    @tracking.on_main_process
    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.told.append(["log", step, values])

    @tracking.on_main_process
    def finish(self) -> None:
        Path("told.json").write_text(json.dumps(self.told))


def test_everything_reaches_the_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "trackio", JsonLines)
    monkeypatch.setitem(trackers.TRACKERS, "trackio", ("json",))
    settings = {"train": {"learning_rate": 1e-3, "betas": (0.9, 0.95)}, "model": "llama-nano", "seed": None}
    sink = Trackers(["trackio"], project="quick", run="base", directory=tmp_path / "logs", config=settings)
    sink.write({"step": 3, "loss": 2.5})
    sink.write({"step": 3, "validation_loss": 2.75})
    sink.close()
    flat = {
        "train.learning_rate": 1e-3, "train.betas": "(0.9, 0.95)", "model": "llama-nano", "seed": "None",
    }  # fmt: skip
    assert json.loads(Path("told.json").read_text()) == [
        ["made", "quick", {"name": "base"}],
        ["started"],
        ["config", flat],
        ["log", 3, {"loss": 2.5}],
        ["log", 3, {"validation_loss": 2.75}],
    ]


@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_a_missing_package_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=f"pip install {name}"):
        Trackers([name], project="quick", run="base", directory=tmp_path / "logs", config={})
    assert not (tmp_path / "logs").exists()


def test_an_unknown_tracker_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean wandb"):
        Trackers(["wandbb"], project="quick", run="base", directory=tmp_path, config={})


def test_none_is_nothing(tmp_path: Path) -> None:
    sink = Trackers([], project="quick", run="base", directory=tmp_path / "logs", config={})
    sink.write({"step": 1, "loss": 1.0})
    sink.close()
    assert not (tmp_path / "logs").exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_writes_its_event_file(tmp_path: Path) -> None:
    sink = Trackers(["tensorboard"], project="quick", run="base", directory=tmp_path, config={"seed": 0})
    sink.write({"step": 1, "loss": 1.0})
    sink.close()
    assert list((tmp_path / "base").glob("events.out.tfevents.*"))
