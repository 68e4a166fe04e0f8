"""What this device does in a second, from some seconds of measuring that are kept for later.

Rates of products, attention and the optimizer are measured one by one. What lies between them (element-wise
work that fills memory, the calls themselves, fresh pages) shows only in whole steps: three small training
steps are timed, and three coefficients fitted to what their traces leave unexplained.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from hanji.contracts.batch import IGNORED, Batch
from hanji.models.load import from_config
from hanji.models.policies import CausalPolicy
from hanji.models.presets import preset_config
from hanji.recipes.plan.recorder import SMALL_BYTES, Operation
from hanji.recipes.plan.trace import StepShape, trace_step
from hanji.training.optimizers import build_optimizers

Rates = tuple[tuple[float, float], ...]
"""Pairs of a size and the rate measured there, by size."""

_VERSION = 1
"""Raised when the measuring changes, so that what was kept is measured again."""
_RATES = ("products", "half_products", "attention")
_PRODUCT_SIZES = (64, 256, 1024)
_DOCUMENT_LENGTHS = (32, 128, 512, 2048)
_ROUNDS = 3
_STEPS = (
    # layers, hidden size, intermediate size, heads, vocabulary, documents, tokens of each
    (2, 64, 192, 2, 512, 4, 64),  # most of its time goes into calls,
    (3, 256, 768, 4, 1024, 6, 256),  # activations,
    (1, 96, 256, 3, 40_000, 4, 256),  # the head
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Rates of one device, with one torch and one number of threads.

    Attributes:
        products, half_products: floating-point operations a second by smallest dimension; of fp32 and bf16.
        attention: the same by length of document, forward and backward together.
        optimizer_bytes: bytes a second of the fused optimizer.
        call_seconds: of one operation, whatever it does.
        byte_seconds: of one byte that element-wise work reads or writes.
        fresh_byte_seconds: more, where the result is a block fresh from the system.
        asynchronous: whether calls are queued while the device works, so that the slower of both counts.
    """

    device: str
    products: Rates
    half_products: Rates
    attention: Rates
    optimizer_bytes: float
    call_seconds: float
    byte_seconds: float
    fresh_byte_seconds: float
    asynchronous: bool
    version: int = _VERSION

    def seconds(self, operations: Sequence[Operation]) -> float:
        """How long these operations take, one after another."""
        calls = self.call_seconds * sum(item.count for item in operations)
        work = sum(self._kernel_seconds(item) * item.count for item in operations)
        return max(calls, work) if self.asynchronous else calls + work

    def _kernel_seconds(self, item: Operation) -> float:
        fresh = self.fresh_byte_seconds * item.written if item.written >= SMALL_BYTES else 0.0
        if item.kind == "matmul":
            rates = self.half_products if item.half else self.products
            return item.flops / _rate(rates, min(item.dims)) + fresh
        if item.kind == "attention":
            return item.flops / _rate(self.attention, item.dims[1]) + fresh
        if item.kind == "optimizer":
            return item.bytes / self.optimizer_bytes
        return item.bytes * self.byte_seconds + fresh


def kept(device: str) -> Calibration | None:
    """The calibration of `device` that was measured before, if it was."""
    path = _place(device)
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rates = {name: tuple(map(tuple, content[name])) for name in _RATES}
        return Calibration(**(content | rates)) if content["version"] == _VERSION else None
    except (ValueError, TypeError, KeyError):
        return None  # of another version, or not ours: measured again


def calibrated(device: str, *, again: bool = False) -> Calibration:
    """The calibration of `device`, measured where it is not kept from before.

    Args:
        again: measure in any case.
    """
    found = None if again else kept(device)
    if found is not None:
        return found
    measured = measure(device)
    path = _place(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(asdict(measured), indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
    return measured


def measure(device: str) -> Calibration:
    """Measures for some seconds."""
    clock = _Clock(device)
    measured = Calibration(
        device=device_name(device),
        products=_product_rates(clock, torch.float32),
        half_products=_product_rates(clock, torch.bfloat16),
        attention=_attention_rates(clock),
        optimizer_bytes=_optimizer_rate(clock),
        call_seconds=0.0,
        byte_seconds=0.0,
        fresh_byte_seconds=0.0,
        asynchronous=device != "cpu",
    )
    return _fit_steps(measured, clock)


def device_name(device: str) -> str:
    """What the device calls itself."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    counted = f"{threads} thread" + ("s" if threads > 1 else "")
    if device == "cpu" and Path("/proc/cpuinfo").is_file():
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        if found:
            return f"{found[1].strip()}, {counted}"
    return f"{platform.machine()} {device}, {counted}"


def _place(device: str) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = f"{device}-{device_name(device)}-torch-{torch.__version__}"
    return Path(root) / "hanji" / "calibration" / (re.sub(r"[^\w.\-]+", "-", name) + ".json")


class _Clock:
    """Times work on a device: the least of several repeats, for others may be at work beside us.

    With one thread on the CPU the processor's time for us is what counts, and their work is not in it.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        alone = device == "cpu" and torch.get_num_threads() == 1
        self._read = time.process_time if alone else time.perf_counter

    def now(self) -> float:
        """Seconds, when the device has done what it was given."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        elif self.device == "mps":
            torch.mps.synchronize()
        return self._read()

    def least(self, work: Callable[[], object], repeats: int = 5, at_least: float = 0.02) -> float:
        """Seconds of one `work`."""
        work()
        found = []
        for _ in range(repeats):
            count, began = 0, self.now()
            while True:
                work()
                count += 1
                if self._read() - began > at_least:
                    break
            found.append((self.now() - began) / count)
        return min(found)


def _product_rates(clock: _Clock, dtype: torch.dtype) -> Rates:
    found = []
    for size in _PRODUCT_SIZES if dtype == torch.float32 or clock.device != "cpu" else _PRODUCT_SIZES[1:2]:
        rows = 1024 if clock.device == "cpu" else 8192
        left = torch.randn(rows, size, device=clock.device, dtype=dtype)
        right = torch.randn(size, size, device=clock.device, dtype=dtype)
        out = torch.empty(rows, size, device=clock.device, dtype=dtype)
        seconds = clock.least(lambda left=left, right=right, out=out: torch.mm(left, right, out=out))  # type: ignore[misc]
        found.append((float(size), 2.0 * rows * size * size / seconds))
    return tuple(found)


def _attention_rates(clock: _Clock) -> Rates:
    found = []
    heads, size = 6, 48 if clock.device == "cpu" else 64
    dtype = torch.float32 if clock.device == "cpu" else torch.bfloat16
    for length in _DOCUMENT_LENGTHS:
        states = [
            torch.randn(1, heads, length, size, device=clock.device, dtype=dtype, requires_grad=True)
            for _ in range(3)
        ]
        above = torch.randn_like(states[0])

        def both(states: list[torch.Tensor] = states, above: torch.Tensor = above) -> object:
            query, key, value = states
            attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            return torch.autograd.grad(attended, states, above)

        flops = 3.5 * 2.0 * heads * length * length * size
        found.append((float(length), flops / clock.least(both, repeats=3)))
    return tuple(found)


def _optimizer_rate(clock: _Clock) -> float:
    parameter = torch.nn.Parameter(torch.randn(2_000_000, device=clock.device))
    parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.AdamW([parameter], fused=True)
    return 2.0 * 16 * parameter.numel() / clock.least(optimizer.step)


def _fit_steps(measured: Calibration, clock: _Clock) -> Calibration:
    """Fits seconds of a call, of a byte and of a fresh byte to timed training steps."""
    precision = None if clock.device == "cpu" else torch.bfloat16
    runs, rows, explained = [], [], []
    for layers, hidden, wide, heads, vocabulary, documents, length in _STEPS:
        overrides = {
            "num_hidden_layers": layers, "hidden_size": hidden,
            "intermediate_size": wide, "num_attention_heads": heads,
        }  # fmt: skip
        config = preset_config("llama-nano", vocab_size=vocabulary, overrides=overrides)
        shape = StepShape(
            (length,) * documents, documents * (length - 1), False, precision=precision, device=clock.device
        )
        trace = trace_step(config, shape)
        operations = trace.micro_batch + trace.update
        explained.append(sum(measured._kernel_seconds(item) * item.count for item in operations))
        element_wise = sum(item.bytes * item.count for item in operations if item.kind == "arithmetic")
        fresh = sum(item.written * item.count for item in operations if item.written >= SMALL_BYTES)
        rows.append([sum(item.count for item in operations), element_wise, fresh])
        runs.append(_training_step(config, shape))
    times = np.full(len(runs), np.inf)
    for _ in range(_ROUNDS):  # in turn, so that a busy moment does not fall on one of them alone
        for index, run in enumerate(runs):
            times[index] = min(times[index], clock.least(run, repeats=2, at_least=0.1))
    features, base = np.array(rows), np.array(explained)
    if measured.asynchronous:  # the first step is led by calls; memory's rate is taken from the second
        call = float(times[0] / features[0, 0])
        byte = max(float((times[1] - base[1]) / features[1, 1]), 0.0)
        fitted = np.array([call, byte, 0.0])
    else:
        fitted = _fit_positive(features / times[:, None], (times - base) / times)
    changes: dict[str, Any] = dict(
        zip(("call_seconds", "byte_seconds", "fresh_byte_seconds"), map(float, fitted), strict=True)
    )
    return Calibration(**(_fields(measured) | changes))


def _fields(measured: Calibration) -> dict[str, Any]:
    return {name: getattr(measured, name) for name in Calibration.__dataclass_fields__}


def _training_step(config: Any, shape: StepShape) -> Callable[[], None]:
    policy = CausalPolicy(from_config(config, 0).to(shape.device), pad_id=0, precision=shape.precision)
    optimizers = build_optimizers(policy, shape.optimizer, learning_rate=1e-4, weight_decay=0.1)
    ids = torch.randint(1, config.vocab_size, (sum(shape.lengths),))
    labels = ids.roll(-1)
    labels[np.cumsum(shape.lengths) - 1] = IGNORED
    batch = Batch(ids, labels, shape.lengths).to(shape.device)

    def step() -> None:
        (policy.negative_log_likelihood(batch)["nll"] / shape.trained).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step


def _fit_positive(features: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares with coefficients of at least 0, by coordinate descent.

    Args:
        features: [samples, coefficients]. target: [samples].
    """
    scale = np.maximum(np.abs(features).max(0), 1e-30)
    features = features / scale
    found = np.zeros(features.shape[1])
    for _ in range(2000):
        for index, column in enumerate(features.T):
            left = target - features @ found + column * found[index]
            found[index] = max(0.0, float(column @ left / max(column @ column, 1e-30)))
    fitted: NDArray[np.float64] = found / scale
    return fitted


def _rate(rates: Rates, size: float) -> float:
    """The rate at `size`, between the measured ones on a logarithmic scale."""
    sizes, values = np.log([pair[0] for pair in rates]), np.log([pair[1] for pair in rates])
    return float(np.exp(np.interp(np.log(max(size, 1.0)), sizes, values)))
