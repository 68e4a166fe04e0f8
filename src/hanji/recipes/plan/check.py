"""Refuses what cannot fit before it runs, and says what would fit: each suggestion is planned too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig

from hanji.contracts.errors import ResourceError
from hanji.models.presets import PRESETS, Preset, preset_config
from hanji.recipes.plan.calibration import Calibration, calibrated, kept
from hanji.recipes.plan.estimate import StagePlan, plan_training
from hanji.recipes.plan.rows import LearningRows
from hanji.recipes.plan.trace import Learning
from hanji.recipes.train import TrainSettings

_WORTH_MEASURING_FLOPS = 2e12
"""A run with less to compute ends before the device would be measured."""
_SMALLEST_SEQUENCE = 64

Replan = Callable[[PretrainedConfig, TrainSettings], StagePlan]


def ensure_fits(
    config: PretrainedConfig,
    settings: TrainSettings,
    rows: LearningRows,
    *,
    name: str,
    model: str,
    device: str,
    learning: Learning = Learning(),  # noqa: B008
    resident_bytes: float = 0.0,
    measure: bool = True,
) -> StagePlan:
    """The plan of a training stage that is about to run.

    Args:
        model: the preset's name, where it is one: then a smaller preset can be suggested.
        resident_bytes: of the plan's memory that is taken already (weights that are loaded).
        measure: whether to calibrate the device where that was never done and the run is a long one.

    Raises:
        ResourceError: the device has not the memory; the hint names settings that would fit.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))

    def plan(
        changed: PretrainedConfig, others: TrainSettings, calibration: Calibration | None = None
    ) -> StagePlan:
        return plan_training(
            changed, others, rows, name=name, model=model, device=device,
            calibration=calibration, learning=learning, world_size=world_size,
        )  # fmt: skip

    found = plan(config, settings, kept(device))
    room = found.available_bytes + resident_bytes
    if found.needed_bytes > room:
        ways = what_would_fit(config, settings, rows, model=model, room=room, replan=plan)
        raise _too_large(found, room, settings, ways)
    if found.seconds is None and measure and (found.flops or 0.0) > _WORTH_MEASURING_FLOPS:
        return plan(config, settings, calibrated(device))
    return found


def what_would_fit(
    config: PretrainedConfig,
    settings: TrainSettings,
    rows: LearningRows,
    *,
    model: str,
    room: float,
    replan: Replan,
) -> list[str]:
    """Changes of settings under which the stage needs at most `room` bytes, the least harmful first.

    Args:
        replan: plans another config with other settings.
    """
    return list(_Ways(config, settings, rows, model, room, replan))


def _too_large(found: StagePlan, room: float, settings: TrainSettings, ways: list[str]) -> ResourceError:
    largest = sorted(found.memory.items(), key=lambda part: -part[1])[:3]
    parts = ", ".join(f"{part} {_gigabytes(size)}" for part, size in largest)
    hint = "; or ".join(ways) if ways else (
        f"no setting makes {found.model} fit here: take a smaller model, or a machine with "
        f"{_gigabytes(found.needed_bytes)} free"
    )  # fmt: skip
    return ResourceError(
        f"{found.name} needs {_gigabytes(found.needed_bytes)} of memory ({parts}), "
        f"and {_gigabytes(room)} are free on {found.device}",
        where=f"{found.name}.train",
        value=f"micro_batch_tokens {settings.micro_batch_tokens}, sequence_length {settings.sequence_length}",
        hint=hint,
    )


@dataclass(frozen=True, slots=True)
class _Ways:
    """Changes that make a stage fit, the least harmful first."""

    config: PretrainedConfig
    settings: TrainSettings
    rows: LearningRows
    model: str
    room: float
    replan: Replan

    def __iter__(self) -> Iterator[str]:
        least = min(self.settings.sequence_length, self.rows.longest)
        found = [
            self._halving("micro_batch_tokens", self.settings.micro_batch_tokens, max(least, 1), {}),
            self._try({"activation_checkpointing": True}),
        ]
        if not any(found):
            small = {"activation_checkpointing": True, "micro_batch_tokens": max(least, 1)}
            found = [self._try(small), self._shorter(small), self._try(small | {"optimizer": "muon"})]
        if not any(found):
            found = [self._smaller_preset()]
        yield from filter(None, found)

    def _try(self, changes: Mapping[str, Any]) -> str | None:
        new = {key: value for key, value in changes.items() if getattr(self.settings, key) != value}
        if not new:
            return None
        plan = self.replan(self.config, self.settings.model_copy(update=dict(changes)))
        return self._said(new, plan)

    def _said(self, changes: Mapping[str, Any], plan: StagePlan) -> str | None:
        if plan.needed_bytes > self.room:
            return None
        words = " and ".join(f"`{key}: {_yaml(value)}`" for key, value in changes.items())
        return f"set {words} (needs {_gigabytes(plan.needed_bytes)})"

    def _halving(self, key: str, value: int, least: int, others: Mapping[str, Any]) -> str | None:
        while value > least:
            value = max(value // 2, least)
            if found := self._try({**others, key: value}):
                return found
        return None

    def _shorter(self, small: Mapping[str, Any]) -> str | None:
        length = self.settings.sequence_length
        while length > _SMALLEST_SEQUENCE and length % 2 == 0:
            length //= 2
            if found := self._try({**small, "sequence_length": length, "micro_batch_tokens": length}):
                return found
        return None

    def _smaller_preset(self) -> str | None:
        chosen = PRESETS.get(self.model)
        if chosen is None:
            return None
        for preset in sorted(_smaller(chosen), key=lambda preset: -preset.non_embedding_parameters):
            config = preset_config(preset.name, vocab_size=self.config.vocab_size)
            plan = self.replan(config, self.settings)
            if plan.needed_bytes <= self.room:
                return f"take `model: {preset.name}` (needs {_gigabytes(plan.needed_bytes)})"
        return None


def _smaller(chosen: Preset) -> list[Preset]:
    return [
        preset
        for preset in PRESETS.values()
        if preset.family == chosen.family
        and preset.non_embedding_parameters < chosen.non_embedding_parameters
    ]


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
