"""The plan of one training stage: its step traced, multiplied out, and laid beside this device."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig

from hanji.recipes.plan.calibration import Calibration
from hanji.recipes.plan.memory import available_bytes, resident_bytes
from hanji.recipes.plan.recorder import PARTS, Operation
from hanji.recipes.plan.rows import LearningRows
from hanji.recipes.plan.trace import (
    CannotTrace,
    Learning,
    StepShape,
    StepTrace,
    count_parameters,
    trace_step,
)
from hanji.recipes.train import TrainSettings

_MOST_TRACED_DOCUMENTS = 64
"""More documents in a micro-batch are traced as so many longer ones: each takes some milliseconds."""
_GAPS = 0.4
"""Memory that glibc's heap leaves between blocks, as a share of the small ones (`recorder.SMALL_BYTES`)
beside weights: measured 0.25 to 0.5 on Llama, GPT-2 and Qwen 3 shapes of 0.5 to 13 M parameters. Where each
block has its own mapping (MALLOC_MMAP_THRESHOLD_=131072) the trace and the workspace are all there is."""
_WORKSPACE_BYTES = {"cpu": 35e6, "cuda": 600e6, "mps": 200e6}
"""Buffers of kernels and autograd beside all tensors: measured on CPU; on CUDA the driver's context."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one training stage will need.

    Attributes:
        name: of the stage. `model`: what is trained. `device`: where, in words.
        tokens, steps, flops: of the whole run; None where the data does not tell yet.
        memory: bytes by part at the peak, in the order in which they are shown.
        process_bytes: Python and PyTorch themselves, before a model is there.
        available_bytes: what the device has left.
        seconds: of the whole run, with `evaluation_seconds`; None without a calibration.
        assumed: what was taken for granted, in sentences.
        would_fit: changes of settings with which it would fit, where it does not.
    """

    name: str
    model: str
    device: str
    parameters: int
    trainable: int
    tokens: float | None
    steps: int | None
    flops: float | None
    flops_per_token: float
    memory: dict[str, float]
    process_bytes: float
    available_bytes: float
    seconds: float | None
    evaluation_seconds: float | None
    tokens_per_second: float | None
    assumed: tuple[str, ...] = ()
    would_fit: tuple[str, ...] = ()

    @property
    def needed_bytes(self) -> float:
        """What training adds to the process at its peak."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        """Whether the device has that much left."""
        return self.needed_bytes <= self.available_bytes

    def to_json(self) -> dict[str, Any]:
        """For `plan.json`; `memory_bytes` is of the whole process, as a running one measures itself."""
        whole = self.needed_bytes + (self.process_bytes if self.device_type == "cpu" else 0.0)
        return asdict(self) | {"needed_bytes": self.needed_bytes, "memory_bytes": whole}

    def save(self, path: Path) -> None:
        """Writes `plan.json`."""
        path.write_text(json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @property
    def device_type(self) -> str:
        """`cpu`, `cuda` or `mps`."""
        return self.device.split(":", 1)[0].split(",", 1)[0]


def plan_training(
    config: PretrainedConfig,
    settings: TrainSettings,
    rows: LearningRows,
    *,
    name: str,
    model: str,
    device: str,
    calibration: Calibration | None = None,
    learning: Learning = Learning(),  # noqa: B008
    world_size: int = 1,
) -> StagePlan:
    """Plans the training of a model of this config.

    Args:
        name: of the stage. `model`: what to call the model.
        calibration: of `device`; without one, no time is told.
        learning: what objective and method make of a step.
        world_size: devices that share the run (FSDP: each holds its part of weights, gradients, states).
    """
    steps, step_tokens = _steps(settings, rows)
    share = max(1, round(step_tokens / world_size))
    shape = replace(_shape(settings, rows, share, device), learning=learning)
    assumed = list(rows.assumed)
    if settings.compile:
        assumed.append("the time is that without `compile`, which is faster in a long run")
    try:
        trace = trace_step(config, shape)
    except CannotTrace as error:
        assumed.append(f"activations are unknown and not counted: the model cannot be traced ({error})")
        trace = _untraced(config, shape)
    tokens = None if steps is None else steps * step_tokens
    timed = calibration if trace.micro_batch else None
    seconds, evaluation, speed = (
        (None, None, None)
        if timed is None
        else _times(trace, timed, settings, rows, steps, share, world_size)
    )
    return StagePlan(
        name=name, model=model, device=device, parameters=trace.parameters, trainable=trace.trainable,
        tokens=tokens, steps=steps, flops=None if tokens is None else tokens * trace.flops_per_token,
        flops_per_token=trace.flops_per_token, memory=_memory(trace, device, world_size),
        process_bytes=float(resident_bytes()), available_bytes=float(available_bytes(device)),
        seconds=seconds, evaluation_seconds=evaluation, tokens_per_second=speed, assumed=tuple(assumed),
    )  # fmt: skip


def _steps(settings: TrainSettings, rows: LearningRows) -> tuple[int | None, float]:
    """Steps of the run, and real tokens of one: what `TrainingStream` will come to."""
    bins_per_step = max(1, settings.batch_tokens // settings.sequence_length)
    fullness = float(settings.sequence_length)
    if rows.tokens and rows.bins:
        fullness = min(rows.tokens / rows.bins, settings.sequence_length)
    step_tokens = bins_per_step * fullness
    if settings.steps is not None:
        return settings.steps, step_tokens
    if settings.tokens is not None:
        return max(1, math.ceil(round(settings.tokens / step_tokens, 6))), step_tokens
    if rows.tokens is None:
        return None, step_tokens
    assert settings.epochs is not None
    return max(1, math.ceil(round(settings.epochs * rows.tokens / step_tokens, 6))), step_tokens


def _shape(settings: TrainSettings, rows: LearningRows, step_tokens: int, device: str) -> StepShape:
    tokens = min(max(settings.micro_batch_tokens, min(rows.longest, settings.sequence_length)), step_tokens)
    length = max(2, min(rows.typical, tokens), math.ceil(tokens / _MOST_TRACED_DOCUMENTS))
    lengths = [length] * (tokens // length)
    if tokens % length:
        lengths.append(tokens % length)
    precision = settings.precision
    half = precision == "bf16" or (precision == "auto" and device.startswith("cuda"))
    return StepShape(
        tuple(lengths), max(1, round(rows.trained_share * (tokens - len(lengths)))),
        accumulates=step_tokens > tokens, optimizer=settings.optimizer,
        precision=torch.bfloat16 if half else None,
        activation_checkpointing=settings.activation_checkpointing, device=device,
    )  # fmt: skip


def _memory(trace: StepTrace, device: str, world_size: int) -> dict[str, float]:
    parts = {part: trace.memory.get(part, 0.0) for part in PARTS if part != "small"}
    for part in ("weights", "gradients", "optimizer"):
        parts[part] /= world_size
    if device == "cpu":
        parts["gaps"] = _GAPS * trace.memory["small"]
    parts["workspace"] = _WORKSPACE_BYTES[device.split(":", 1)[0]]
    return parts


def _times(
    trace: StepTrace,
    calibration: Calibration,
    settings: TrainSettings,
    rows: LearningRows,
    steps: int | None,
    step_tokens: int,
    world_size: int,
) -> tuple[float | None, float | None, float]:
    """Seconds of the run, seconds of its evaluations, tokens a second while it trains."""
    micro_batches = step_tokens / trace.tokens
    step = micro_batches * calibration.seconds(trace.micro_batch) + calibration.seconds(trace.update)
    speed = step_tokens * world_size / step
    if steps is None:
        return None, None, speed
    every = max(1, math.ceil(steps / 10)) if settings.evaluate_every is None else settings.evaluate_every
    evaluations = math.ceil(steps / every) if every else 1
    once = rows.held_out_tokens / trace.tokens * calibration.seconds(_forward_only(trace.micro_batch))
    return steps * step + evaluations * once, evaluations * once, speed


def _forward_only(operations: list[Operation]) -> list[Operation]:
    """What evaluation computes: of the head's three products only the first."""
    forward = [item for item in operations if item.phase == "forward"]
    head = [replace(item, count=item.count / 3) for item in operations if item.phase == "head"]
    return forward + head


def _untraced(config: PretrainedConfig, shape: StepShape) -> StepTrace:
    """What is certain of a model that cannot be traced; six operations for each weight and token."""
    parameters = count_parameters(config, shape.learning)
    memory = dict.fromkeys(PARTS, 0.0)
    memory |= {"weights": 4.0 * parameters, "gradients": 4.0 * parameters, "optimizer": 8.0 * parameters}
    return StepTrace(parameters, parameters, [], [], memory, sum(shape.lengths), 6.0 * parameters)
