"""How much memory a training stage takes at its highest, beyond what the process had before it began."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import torch

from hanji.training.loop import Run, StepReport

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_RESET_PEAK: Final = "5"
"""What makes Linux forget the highest memory so far (proc(5), clear_refs)."""


class PeakMemory:
    """Begins to watch when it is made, which is before the weights are loaded.

    On CUDA the allocator's own peak; on Linux the kernel's of the process. Elsewhere, and where the kernel
    does not let go of an older peak, the largest of what is seen after each step, which it is called with.

    Args:
        device: where the model will be.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            return
        with suppress(OSError, AttributeError):  # another system, or another C library
            ctypes.CDLL(None).malloc_trim(0)
        self._kernel = _forget_peak()
        self._before = self._seen = _resident()

    def __call__(self, run: Run, report: StepReport) -> None:
        """A callback of the run."""
        if self._device.type != "cuda" and not self._kernel:
            self._seen = max(self._seen, _resident())

    def grown_bytes(self) -> int:
        """Bytes that were added at the highest point so far."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        highest = _highest() if self._kernel else max(self._seen, _resident())
        return max(highest - self._before, 0)


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def _forget_peak() -> bool:
    """Whether the kernel tells the highest memory from now on."""
    try:
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
        # page counters of the kernel are exact to some pages for each core
        return _highest() <= _resident() + 64 * 2**20
    except (OSError, StopIteration, ValueError):
        return False


def _highest() -> int:
    """`VmHWM`, in bytes."""
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
