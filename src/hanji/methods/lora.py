"""LoRA: what is learned is the difference to each matrix, as a product of two thin ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast, get_args

from peft import LoraConfig
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hanji.contracts.blocks import block_list
from hanji.contracts.errors import ConfigError, nearest
from hanji.contracts.protocols import Encoder
from hanji.methods.attached import Attached, AttachingMethod
from hanji.methods.lora_starts import TakingStart, as_plain_lora, take_from_base
from hanji.methods.modules import linear_names, standing_in

Start = Literal["default", "gaussian", "orthogonal", "pissa", "pissa_niter_16", "olora"]


class Lora(AttachingMethod):
    """Low-rank adaptation (Hu et al. 2022): W + (alpha / rank) · B A, A and B learned, W left alone.

    PEFT's layers, in PEFT's format. Whatever the start, the model starts as it was.

    Args:
        rank: columns of B and rows of A.
        alpha: scale of the difference; by default twice the rank.
        dropout: of what A reads.
        targets: `all` linear modules of the blocks, those of `attention` or of `mlp` alone, or names.
        rslora: scale by alpha / √rank (Kalajdzievski 2023).
        dora: learn the length of W's columns apart from their direction (Liu et al. 2024).
        start: how A and B begin: PEFT's `default` (Kaiming, zeros), `gaussian` or `orthogonal`; or with what
            they take out of W: its largest singular directions (`pissa`, Meng et al. 2024; `pissa_niter_16`
            finds them by a randomised decomposition, which is faster on large matrices) or a part of its QR
            decomposition (`olora`, Büyükakyüz 2024). These are saved as a plain LoRA of twice the rank, on
            the base as it was.
        biases: whether the biases of adapted modules learn too.

    Raises:
        ConfigError: an option out of its range.
    """

    name = "lora"
    merges = True

    def __init__(
        self,
        rank: int = 16,
        alpha: float | None = None,
        dropout: float = 0.0,
        targets: str | list[str] = "all",
        rslora: bool = False,
        dora: bool = False,
        start: Start = "default",
        biases: bool = False,
    ) -> None:
        if rank < 1:
            raise ConfigError("a LoRA needs a rank", where="method.rank", value=rank, expected="1 or more")
        if not 0 <= dropout < 1:
            raise ConfigError("dropout is no share", where="method.dropout", value=dropout, expected="0 to 1")
        if alpha is not None and alpha <= 0:
            raise ConfigError(
                "alpha scales to nothing", where="method.alpha", value=alpha, expected="above 0"
            )
        if start not in get_args(Start):
            raise ConfigError(
                "unknown start", where="method.start", value=start, expected=", ".join(get_args(Start))
            )
        if start == "orthogonal" and rank % 2:
            raise ConfigError(
                "start orthogonal shares the rank out evenly between A and B",
                where="method.rank",
                value=rank,
                expected="an even rank",
            )
        self._taking = start in get_args(TakingStart)
        if self._taking and dora:
            raise ConfigError(
                f"dora learns the length of the columns of W, of which start {start} takes a part away",
                where="method.dora",
                value=dora,
                expected=f"dora without start {start}, or start {start} without dora",
            )
        self.rank, self.alpha, self.dropout = rank, 2.0 * rank if alpha is None else alpha, dropout
        self.targets, self.rslora, self.dora, self.start, self.biases = targets, rslora, dora, start, biases

    def apply(
        self, model: nn.Module, *, new: Sequence[str] = (), encoder: Encoder | None = None
    ) -> nn.Module:
        """See `contracts.Method`."""
        targets = target_names(model, self.targets)
        first = next(module for name, module in model.named_modules() if _matches(name, targets))
        start: Any = True if self._taking or self.start == "default" else self.start
        config = LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=targets,
            use_rslora=self.rslora, use_dora=self.dora, init_lora_weights=start,
            bias="lora_only" if self.biases else "none", fan_in_fan_out=isinstance(first, Conv1D),
        )  # fmt: skip
        self._attached = Attached(model, config, new)
        if self._taking:
            take_from_base(self._attached.peft, config, cast("TakingStart", self.start))
        self._biases = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if self.biases and parameter.requires_grad and name.endswith(".base_layer.bias")
        }
        return self._attached.model

    def save(self, model: nn.Module, directory: Path, *, base: str, state: Mapping[str, Tensor]) -> None:
        """See `contracts.AddingMethod`."""
        if self._taking:  # s stays: alpha / rank, or alpha / √rank
            grown = {"r": 2 * self.rank, "lora_alpha": self.alpha * (2**0.5 if self.rslora else 2)}
            self._attached.save(directory, base=base, state=as_plain_lora(state), changes=grown)
        else:
            super().save(model, directory, base=base, state=state)

    @contextmanager
    def switched_off(self, model: nn.Module) -> Iterator[None]:
        """See `contracts.AddingMethod`; biases that learn are as they were, too, which PEFT leaves out."""
        with standing_in(model, self._biases), self._attached.switched_off():
            yield


def target_names(model: nn.Module, targets: str | Sequence[str]) -> list[str]:
    """The endings of names of the modules to adapt, which match nothing else in the model.

    Args:
        targets: `all`, `attention`, `mlp`, or endings of names.

    Raises:
        ConfigError: an ending that no linear module of the blocks has.
    """
    blocks_name, blocks = block_list(model)
    inside = list(dict.fromkeys(name for block in blocks for name in linear_names(block)))
    if isinstance(targets, str):
        chosen = [
            name for name in inside if targets == "all" or _is_attention(name) == (targets == "attention")
        ]
        if targets not in ("all", "attention", "mlp") or not chosen:
            raise _no_such([targets], inside)
    else:
        missing = [name for name in targets if not any(_matches(part, [name]) for part in inside)]
        if missing or not targets:
            raise _no_such(missing, inside)
        chosen = [part for part in inside if _matches(part, targets)]
    others = [name for name in linear_names(model) if not name.startswith(f"{blocks_name}.")]
    others += [name for name in inside if name not in chosen]
    return list(dict.fromkeys(_shortest(name, others) for name in chosen))


def _shortest(name: str, others: Sequence[str]) -> str:
    """The shortest ending of `name` that ends none of `others`."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        ending = ".".join(parts[-count:])
        if not any(_matches(other, [ending]) for other in others):
            return ending
    return name


def _matches(name: str, endings: Sequence[str]) -> bool:
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def _is_attention(name: str) -> bool:
    return re.search(r"att(n|ention)", name) is not None


def _no_such(missing: Sequence[str], there: Sequence[str]) -> ConfigError:
    near = nearest(missing[0], there) if missing else None
    return ConfigError(
        "no linear module of the model's blocks is called so",
        where="method.targets",
        value=list(missing),
        expected=f"all, attention, mlp, or some of: {', '.join(there)}",
        hint=f"did you mean {near}?" if near else None,
    )
