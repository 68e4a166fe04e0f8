"""Starts of a LoRA that take a part of each matrix to learn on, and leave the matrix itself alone.

PiSSA and OLoRA take s B₀ A₀ out of W, which learns on as s B A: W - s B₀ A₀ + s B A. Here W stays as it is,
and the start is a second LoRA that never learns and is subtracted. It is the same sum, and the base keeps its
bits: switched off it is the base, and what is saved is a plain LoRA of twice the rank, [B, -B₀] [A; A₀].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from hanji.contracts.errors import ConfigError

TakingStart = Literal["pissa", "pissa_niter_16", "olora"]

LEARNED: Final = "default"
TAKEN: Final = "taken"
"""PEFT's names of the two: what learns, and what was taken out of the matrix."""


def take_from_base(peft: PeftModel, config: LoraConfig, start: TakingStart) -> None:
    """Lets the LoRA in `peft` begin with a part of each matrix, and subtracts that part again.

    What was taken is in buffers: a checkpoint holds it, and nothing that looks for parameters sees it.

    Raises:
        ConfigError: the rank is larger than a matrix.
    """
    peft.add_adapter(
        TAKEN,
        LoraConfig(
            r=config.r, lora_alpha=config.lora_alpha, target_modules=config.target_modules,
            use_rslora=config.use_rslora, fan_in_fan_out=config.fan_in_fan_out, task_type=config.task_type,
        ),
    )  # fmt: skip
    tuner: Any = peft.base_model
    tuner.set_adapter([LEARNED, TAKEN])
    for name, layer in peft.named_modules():
        if isinstance(layer, LoraLayer):
            _take(name, layer, config, start)


def as_plain_lora(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with what was taken and what learned side by side, as one LoRA of twice the rank."""
    joined = {name: tensor for name, tensor in state.items() if f".{TAKEN}." not in name}
    for name, tensor in state.items():
        taken = state.get(name.replace(f".{LEARNED}.", f".{TAKEN}."))
        if taken is not None and f".lora_A.{LEARNED}." in name:
            joined[name] = torch.cat([tensor, taken])
        elif taken is not None and f".lora_B.{LEARNED}." in name:
            joined[name] = torch.cat([tensor, taken], dim=1)
    return joined


def _take(name: str, layer: Any, config: LoraConfig, start: TakingStart) -> None:
    matrix = layer.get_base_layer().weight.detach()
    matrix = matrix.T if layer.fan_in_fan_out else matrix
    if config.r > min(matrix.shape):
        raise ConfigError(
            f"start {start} takes as many directions as the rank out of each matrix, and one has fewer",
            where="method.rank",
            value=config.r,
            expected=f"at most {min(matrix.shape)}, for {name}",
            hint="lower the rank, name other targets, or take start: default",
        )
    wide, tall = _parts(matrix, config.r, layer.scaling[LEARNED], start)
    layer.lora_A[LEARNED].weight.data.copy_(wide)
    layer.lora_B[LEARNED].weight.data.copy_(tall)
    for part, values in ((layer.lora_A[TAKEN], wide), (layer.lora_B[TAKEN], -tall)):
        _as_buffer(part, values.to(layer.lora_A[LEARNED].weight.dtype))


def _parts(matrix: Tensor, rank: int, scaling: float, start: TakingStart) -> tuple[Tensor, Tensor]:
    """A [rank, in] and B [out, rank], from W [out, in].

    `pissa`: s B A is the best approximation of W of that rank, its singular values shared out evenly (Meng et
    al. 2024); `olora`: B is the first columns of Q and A the first rows of R, of W = Q R (Büyükakyüz 2024).
    """
    if matrix.is_meta:  # only shapes are asked for
        return matrix.new_empty(rank, matrix.shape[1]), matrix.new_empty(matrix.shape[0], rank)
    matrix = matrix.float()
    if start == "olora":
        orthogonal, rest = torch.linalg.qr(matrix)
        return rest[:rank].contiguous(), orthogonal[:, :rank].contiguous()
    if start == "pissa":
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    else:
        left, values, right_columns = torch.svd_lowrank(matrix, rank, niter=16)
        right = right_columns.T
    share = (values[:rank] / scaling).sqrt()
    return share[:, None] * right[:rank], left[:, :rank] * share


def _as_buffer(linear: nn.Module, values: Tensor) -> None:
    del linear.weight
    linear.register_buffer("weight", values.contiguous())
