"""The device that `auto` means here."""

from __future__ import annotations

from hanji.contracts.errors import ResourceError


def choose_device(wanted: str) -> str:
    """`cpu`, `cuda` or `mps`; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ResourceError: a device that this machine, or this build of PyTorch, does not have.
    """
    if wanted == "cpu":
        return wanted
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(device for device, available in there.items() if available)
    if not there[wanted]:
        raise ResourceError(
            f"There is no {wanted} device for this PyTorch ({torch.__version__})",
            where="device",
            value=wanted,
            expected=" or ".join(["auto", *(device for device, available in there.items() if available)]),
        )
    return wanted
