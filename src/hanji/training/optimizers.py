"""Optimizers over the parameters that learn: AdamW, or Muon for the matrices with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from hanji.contracts.errors import ConfigError

OPTIMIZERS = ("adamw", "muon")


def build_optimizers(
    module: nn.Module,
    name: str,
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.95),
    sharded: bool = False,
) -> list[torch.optim.Optimizer]:
    """Optimizers that together cover every parameter with `requires_grad`, each once.

    Weight decay falls on matrices only, never on norms and biases. `muon` (Jordan et al. 2024) orthogonalises
    the momentum of the blocks' matrices; its steps are scaled to AdamW's size (Liu et al. 2025), so that one
    learning rate and one decay serve both.

    Args:
        sharded: whether parameters are split over devices, where Muon has no whole matrix to work on.

    Raises:
        ConfigError: for an unknown name, or Muon on sharded parameters.
    """
    if name not in OPTIMIZERS:
        raise ConfigError("unknown optimizer", where="optimizer", value=name, expected=", ".join(OPTIMIZERS))
    if name == "muon" and sharded:
        raise ConfigError(
            "Muon needs whole matrices, and on several devices each holds a part",
            where="optimizer",
            value=name,
            expected="adamw",
        )
    learning = [(label, p) for label, p in module.named_parameters() if p.requires_grad]
    matrices = [p for label, p in learning if name == "muon" and p.ndim == 2 and _is_inside_a_block(label)]
    taken = {id(p) for p in matrices}
    decayed = [p for _, p in learning if id(p) not in taken and p.ndim >= 2]
    plain = [p for _, p in learning if p.ndim < 2]
    groups = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((decayed, weight_decay), (plain, 0.0))
        if parameters
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True))
    return optimizers


def set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], learning_rate: float) -> None:
    """The same rate for every group of every optimizer."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


def _is_inside_a_block(label: str) -> bool:
    """Blocks are numbered (`layers.3.mlp...`); embeddings and the head are not."""
    return any(part.isdigit() for part in label.split("."))
