"""The random generators of this process as JSON, so that a resumed run draws what it would have drawn."""

from __future__ import annotations

import base64
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators, and of `device`'s own where it has one."""
    legacy = np.random.get_state(legacy=False)
    assert isinstance(legacy, dict)
    inner = {**legacy["state"], "key": legacy["state"]["key"].tolist()}
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": {**legacy, "state": inner},
        "torch": _text(torch.get_rng_state()),
    }
    if device.type == "cuda":
        states["cuda"] = _text(torch.cuda.get_rng_state(device))
    if device.type == "mps":
        states["mps"] = _text(torch.mps.get_rng_state())
    return states


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Puts the generators back; one that the states do not hold (another kind of device) stays as it is."""
    version, key, gauss = states["python"]
    random.setstate((version, tuple(key), gauss))
    numpy_state = states["numpy"]
    inner = {**numpy_state["state"], "key": np.array(numpy_state["state"]["key"], dtype=np.uint32)}
    np.random.set_state({**numpy_state, "state": inner})
    torch.set_rng_state(_tensor(states["torch"]))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(_tensor(states["cuda"]), device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(_tensor(states["mps"]))


def _text(state: Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode("ascii")


def _tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
