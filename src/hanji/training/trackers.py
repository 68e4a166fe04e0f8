"""TensorBoard, W&B, MLflow and trackio through accelerate's one interface, when a recipe asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from hanji.contracts.errors import ConfigError, nearest

TRACKERS: Final[Mapping[str, tuple[str, ...]]] = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
}
"""Name → the packages of which one must be installed, the recommended one first."""


class Trackers:
    """Sends each line of metrics to every tracker. Only the main rank makes one.

    Args:
        names: of `TRACKERS`.
        project: what the runs are kept under, as the recipe's name.
        run: this run's name.
        directory: where trackers that write files put them.
        config: the settings of the run, nested as they are; shown beside its curves.

    Raises:
        ConfigError: a name is unknown, or its package is not installed.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        project: str,
        run: str,
        directory: Path,
        config: Mapping[str, Any],
    ) -> None:
        self._trackers: list[Any] = []
        for name in names:
            _expect_installed(name)
        if not names:
            return  # importing accelerate takes a second
        from accelerate.state import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()  # accelerate's own log refuses to work before it; a process group that runs is kept
        options: dict[str, tuple[str, dict[str, Any]]] = {
            "tensorboard": (run, {"logging_dir": str(directory)}),
            "wandb": (project, {"name": run, "dir": str(directory)}),
            "mlflow": (project, {"run_name": run}),
            "trackio": (project, {"name": run}),
        }
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            title, more = options[name]
            tracker = LOGGER_TYPE_TO_CLASS[name](title, **more)
            tracker.main_process_only = False  # other ranks make none, so nobody has to ask who is main
            tracker.start()
            tracker.store_init_configuration(_flat(config))
            self._trackers.append(tracker)

    def write(self, metrics: Mapping[str, Any]) -> None:
        """One line; `metrics` names its `step`."""
        values = {name: value for name, value in metrics.items() if name != "step"}
        for tracker in self._trackers:
            tracker.log(values, step=metrics["step"])

    def close(self) -> None:
        """Ends the run in every tracker."""
        for tracker in self._trackers:
            tracker.finish()
        self._trackers = []


def _expect_installed(name: str) -> None:
    if name not in TRACKERS:
        near = nearest(name, TRACKERS)
        raise ConfigError(
            "There is no such tracker.",
            where="train.trackers",
            value=name,
            expected=", ".join(TRACKERS),
            hint=f"did you mean {near}?" if near else None,
        )
    packages = TRACKERS[name]
    if not any(find_spec(package) for package in packages):
        raise ConfigError(
            f"The tracker {name} needs the package {packages[0]}, which is not installed.",
            where="train.trackers",
            value=name,
            hint=f"pip install {packages[0]}, or leave it out: metrics.jsonl is written in any case",
        )


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Nested settings as `train.learning_rate: 0.001`; what is neither text nor number becomes text."""
    flat: dict[str, str | int | float | bool] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str | int | float | bool) else str(value)
    return flat
