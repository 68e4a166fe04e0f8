"""How much memory there is: of the machine, of the container, of the GPU."""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes(device: str) -> int:
    """What a run may still take on `device`.

    On CUDA what the driver has free; elsewhere what the operating system can give, or what is left of the
    container's limit where that is less.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    left = int(psutil.virtual_memory().available)
    limit = _container_left(_CGROUP)
    return left if limit is None else min(left, limit)


def total_bytes() -> int:
    """The machine's memory, or the container's limit where that is less."""
    total = int(psutil.virtual_memory().total)
    limit = _number(_CGROUP / "memory.max") or _number(_CGROUP / "memory" / "memory.limit_in_bytes")
    return total if limit is None else min(total, limit)


def resident_bytes() -> int:
    """What this process takes already: Python, PyTorch and what else is loaded."""
    return int(psutil.Process().memory_info().rss)


def _container_left(root: Path) -> int | None:
    """What is left of a control group's limit (version 2, then 1), None without a limit."""
    for folder, limit, used in (
        (root, "memory.max", "memory.current"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        most, now = _number(folder / limit), _number(folder / used)
        if most is not None and now is not None:
            return max(most - now + _cached(folder / "memory.stat"), 0)
    return None


def _cached(path: Path) -> int:
    """Pages of files, which the kernel gives back when memory is wanted."""
    if not path.is_file():
        return 0
    counts = dict(line.split(maxsplit=1) for line in path.read_text(encoding="ascii").splitlines())
    return int(counts.get("inactive_file", 0))


def _number(path: Path) -> int | None:
    if not path.is_file():
        return None
    text = path.read_text(encoding="ascii").strip()
    return int(text) if text.isdigit() and int(text) < 2**60 else None
