"""The ranks of one run: who I am, what we sum, how the model is sharded; one rank alone pays nothing."""

from __future__ import annotations

import atexit
import gc
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from hanji.contracts.errors import ConfigError, HanjiError

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Parallel:
    """One rank among `world_size`. All ranks call the same methods in the same order, but for `main`.

    Attributes:
        rank: 0 is the main rank, which alone writes artifacts and logs.
        world_size: number of ranks.
        device: where this rank computes.
    """

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def single(cls, device: torch.device | str = "cpu") -> Parallel:
        """One process, no communication."""
        return cls(0, 1, torch.device(device))

    @classmethod
    def from_environment(cls, device: torch.device | str = "cpu") -> Parallel:
        """The rank that torchrun's environment names (RANK, LOCAL_RANK, WORLD_SIZE); one rank without it.

        Starts the process group: NCCL for `cuda`, where rank i of a machine takes its GPU i; Gloo for `cpu`.

        Raises:
            ConfigError: the environment is incomplete, or the device cannot take part.
        """
        kind = torch.device(device).type
        world_size = _environment_integer("WORLD_SIZE", default=1)
        if world_size == 1:
            return cls.single(device)
        if kind not in ("cpu", "cuda"):
            raise ConfigError(
                "Several ranks cannot train on this device.",
                where="device",
                value=kind,
                expected="cuda (NCCL) or cpu (Gloo)",
                hint="start one process, without torchrun",
            )
        local_rank = _environment_integer("LOCAL_RANK")
        if kind == "cuda":
            if local_rank >= torch.cuda.device_count():
                raise ConfigError(
                    "There are more ranks on this machine than GPUs.",
                    where="torchrun --nproc-per-node",
                    expected=f"at most {torch.cuda.device_count()}",
                )
            torch.cuda.set_device(local_rank)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if kind == "cuda" else "gloo")
            # Sharded models are cycles of objects that hold the group's threads. Left to the very end of the
            # interpreter, such a thread may still want it, and the process is aborted.
            atexit.register(gc.collect)
        own = torch.device(kind, local_rank) if kind == "cuda" else torch.device(kind)
        return cls(_environment_integer("RANK"), world_size, own)

    def close(self) -> None:
        """Leaves the process group."""
        if self.world_size > 1 and dist.is_initialized():
            gc.collect()
            dist.destroy_process_group()

    @property
    def main(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def barrier(self) -> None:
        """Waits until every rank is here."""
        if self.world_size > 1:
            dist.barrier()

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value summed over ranks, in float64. Every rank brings the same names."""
        if self.world_size == 1:
            return {name: float(value) for name, value in values.items()}
        names = sorted(values)
        signature = float(zlib.crc32("\n".join(names).encode()))
        local = [signature, *(float(values[name]) for name in names)]
        widest = int(self.max(len(local)))  # with unequal names the sum itself would hang or crash
        sums = torch.zeros(widest, dtype=torch.float64, device=self.device)
        sums[: len(local)] = torch.tensor(local, dtype=torch.float64)
        dist.all_reduce(sums)
        total = sums.tolist()
        assert total[0] == signature * self.world_size, f"ranks sum different names; this one has {names}"
        return dict(zip(names, total[1:], strict=True))

    def max(self, value: float) -> float:
        """The greatest value of any rank (a stop flag, the number of micro-batches)."""
        if self.world_size == 1:
            return float(value)
        greatest = torch.tensor(float(value), dtype=torch.float64, device=self.device)
        dist.all_reduce(greatest, dist.ReduceOp.MAX)
        return float(greatest.item())

    def gather(self, value: Result) -> list[Result]:
        """[ranks] what every rank brought, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def on_main(self, work: Callable[[], Result]) -> Result:
        """Runs `work` on rank 0 alone; every rank gets its result, or fails when it fails.

        Raises:
            HanjiError: as `work` raised it, on every rank. Anything else is raised as it is on rank 0, and as
                a RuntimeError naming it elsewhere.
        """
        if self.world_size == 1:
            return work()
        told: list[Any] = [None, None]
        failure: Exception | None = None
        if self.main:
            try:
                told[0] = work()
            except Exception as error:
                failure = error
                told[1] = (
                    error if isinstance(error, HanjiError) else RuntimeError(f"rank 0 failed: {error!r}")
                )
        dist.broadcast_object_list(told, src=0)
        if failure is not None:
            raise failure
        if told[1] is not None:
            raise cast("Exception", told[1])
        return cast("Result", told[0])

    def shard(
        self, policy: nn.Module, layers: Sequence[nn.Module], precision: Literal["fp32", "bf16"] = "fp32"
    ) -> None:
        """Puts `policy` on this rank's device; with several ranks, shards each layer, then the rest (FSDP2).

        Call it before the optimizer is made, with the same parameter values on every rank. Gradients are
        *summed* over ranks, not averaged: the loss is already divided by counts over all ranks. Only
        `policy.forward` gathers the parameters: what needs weights must run inside it.

        Args:
            policy: the whole model.
            layers: its transformer blocks, gathered one at a time.
            precision: `bf16` gathers and computes in bfloat16 and keeps weights, gradient sums and optimizer
                in their own type; `fp32` changes no type.
        """
        if self.world_size == 1:
            policy.to(self.device)
            return
        mixed = MixedPrecisionPolicy()
        if precision == "bf16":
            mixed = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        mesh = init_device_mesh(self.device.type, (self.world_size,))
        thawing = {name for name, p in policy.named_parameters() if getattr(p, "thaws", False)}
        for module in (*layers, policy):
            sharded = fully_shard(module, mesh=mesh, mp_policy=mixed)
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)  # Gloo has no scaled sum
        for name, parameter in policy.named_parameters():  # other objects than before
            if name in thawing:
                parameter.thaws = True  # type: ignore[attr-defined]
        # An expert that saw no token on this rank still takes part in the reduction.
        cast("FSDPModule", policy).set_reduce_scatter_unused_params(True)

    def set_last_backward(self, policy: nn.Module, last: bool) -> None:
        """Before each backward of an accumulated step: gradients are reduced over ranks in the last one only.

        Every rank must run the same number of backwards (see `max`), or they wait for each other for ever.
        """
        if isinstance(policy, FSDPModule):
            policy.set_requires_gradient_sync(last)
            policy.set_is_last_backward(last)

    def clip_grad_norm(self, parameters: Iterable[nn.Parameter], max_norm: float | None) -> float:
        """The gradient's norm over all parameters and ranks, before it is scaled to at most `max_norm`."""
        learning = [parameter for parameter in parameters if parameter.grad is not None]
        total = _whole(get_total_norm([cast("Tensor", parameter.grad) for parameter in learning]))
        if max_norm is not None:
            clip_grads_with_norm_(learning, max_norm, total)
        return float(total.item())

    def gather_full_state(self, module: nn.Module) -> dict[str, Tensor]:
        """The module's whole state on rank 0's CPU, to be saved; empty elsewhere. Tied names stay tied."""
        gathered: dict[int, Tensor] = {}
        state: dict[str, Tensor] = {}
        for name, tensor in module.state_dict(keep_vars=True).items():
            if id(tensor) not in gathered:
                whole = _whole(tensor.detach())  # all ranks take part, one tensor at a time
                gathered[id(tensor)] = whole.cpu() if self.main else torch.empty(0)
            if self.main:
                state[name] = gathered[id(tensor)]
        return state


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _environment_integer(name: str, default: int | None = None) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise ConfigError(
            "The environment does not describe this rank.",
            where=f"environment variable {name}",
            value=text,
            expected="a whole number, as torchrun sets it",
            hint="start several ranks with torchrun, or unset WORLD_SIZE",
        )
    return int(text)
