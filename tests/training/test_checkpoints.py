"""Checkpoints: exact, atomic, checked."""

from __future__ import annotations

import copy
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from hanji.contracts.errors import ResourceError, TrainingError
from hanji.training import checkpoints as subject
from hanji.training.checkpoints import Checkpoints

Optimizers = list[torch.optim.Optimizer]


class Notes:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def advance(self, phase: str, done: float, total: float | None = None, **figures: float) -> None: ...

    def note(self, message: str) -> None:
        self.notes.append(message)


class Model(nn.Module):
    """Tied embeddings, dropout, a buffer and a frozen parameter."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.frozen = nn.Parameter(torch.ones(width), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.embedding(ids) * self.frozen
        for layer in self.layers:
            hidden = F.dropout(torch.tanh(layer(hidden)), 0.2)
        return self.head(self.norm(hidden))


def adamw(model: Model, *, fused: bool) -> Optimizers:
    decayed = [model.embedding.weight, *(layer.weight for layer in model.layers)]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    return [torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), fused=fused)]


def muon_and_adamw(model: Model) -> Optimizers:
    matrices = [layer.weight for layer in model.layers]
    rest = [model.embedding.weight, *(p for p in model.parameters() if p.requires_grad and p.ndim == 1)]
    return [torch.optim.Muon(matrices, lr=1e-2), torch.optim.AdamW(rest, lr=1e-2, fused=True)]


class Odd(torch.optim.Optimizer):
    """A plain number, float64, another shape than the parameter's, one counter for all."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": torch.tensor(1e-2), "window": (3, 4), "name": "odd"})
        self.counter = torch.zeros((), dtype=torch.int64)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                state["calls"] = state.get("calls", 0) + 1
                state["counter"] = self.counter
                state["sum"] = state.get("sum", 0) + parameter.grad.double()
                state["rows"] = state.get("rows", 0) + parameter.grad.reshape(len(parameter), -1).sum(-1)
                parameter.data.sub_(state["sum"].float() * group["lr"] / state["calls"])
                parameter.data.sub_(1e-3 * state["rows"].reshape(-1, *[1] * (parameter.ndim - 1)))


OPTIMIZERS = {
    "fused": lambda model: adamw(model, fused=True),
    "foreach": lambda model: adamw(model, fused=False),
    "muon": muon_and_adamw,
    "odd": lambda model: [Odd([p for p in model.parameters() if p.requires_grad])],
}


def fresh(kind: str = "fused", seed: int = 0) -> tuple[Model, Optimizers]:
    torch.manual_seed(seed)
    model = Model()
    return model, OPTIMIZERS[kind](model)


def train(model: Model, optimizers: Optimizers, steps: int) -> None:
    """Draws its batches from all three generators, so that only a full resume repeats them."""
    for _ in range(steps):
        drawn = [random.randrange(11), int(np.random.randint(11)), *torch.randint(11, (4,)).tolist()]
        ids = torch.tensor(drawn)
        loss = F.cross_entropy(model(ids), ids.flip(0))
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def everything(model: Model, optimizers: Optimizers) -> list[Any]:
    """All bits of a run, in an order that does not depend on how it came about."""
    state = [(name, tensor.clone()) for name, tensor in sorted(model.state_dict().items())]
    held = copy.deepcopy([optimizer.state_dict() for optimizer in optimizers])
    return [state, held, torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()]


def equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Tensor):
        return isinstance(theirs, Tensor) and ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(equal(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list | tuple):
        same = type(ours) is type(theirs) and len(ours) == len(theirs)
        return same and all(map(equal, ours, theirs))
    return bool(ours == theirs)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_resumed_training_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    random.seed(1)
    np.random.seed(1)
    model, optimizers = fresh(kind)
    train(model, optimizers, 5)
    Checkpoints(tmp_path).save(5, model, optimizers, {"step": 5, "stream": {"epoch": 0}})
    train(model, optimizers, 5)
    straight = everything(model, optimizers)

    random.seed(2)
    np.random.seed(2)
    model, optimizers = fresh(kind, seed=3)
    with torch.no_grad():
        model.frozen.fill_(1)
    assert Checkpoints(tmp_path).load_latest(model, optimizers) == {"step": 5, "stream": {"epoch": 0}}
    assert model.head.weight is model.embedding.weight
    train(model, optimizers, 5)
    assert equal(everything(model, optimizers), straight)


def test_changed_options_of_groups_come_back(tmp_path: Path) -> None:
    model, optimizers = fresh()
    train(model, optimizers, 1)
    optimizers[0].param_groups[1]["lr"] = 0.1 + 0.2
    Checkpoints(tmp_path).save(1, model, optimizers, {})
    model, optimizers = fresh()
    Checkpoints(tmp_path).load_latest(model, optimizers)
    groups = optimizers[0].param_groups
    assert [group["lr"] for group in groups] == [1e-2, 0.1 + 0.2]
    assert groups[0]["betas"] == (0.9, 0.95)


def test_only_what_learns_is_stored(tmp_path: Path) -> None:
    model, optimizers = fresh()
    path = Checkpoints(tmp_path).save(0, model, optimizers, {})
    names = stored_names(path)
    assert "model.embedding.weight" in names
    assert "model.norm.running_mean" in names
    assert not names & {"model.frozen", "model.head.weight"}


def stored_names(path: Path) -> set[str]:
    names: set[str] = set()
    for file in path.glob("*.safetensors"):
        with safe_open(file, "pt") as stored:
            names |= set(stored.keys())
    return names


def test_nothing_to_load(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    assert store.load_latest(*fresh()) is None
    assert store.load_best(fresh()[0]) is None
    assert store.best() is None


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep_last=2)
    model, optimizers = fresh()
    for step, score in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, float("nan"))):
        with torch.no_grad():
            model.layers[0].bias.fill_(step)
        store.save(step, model, optimizers, {"step": step}, score=score)
    assert store.steps() == [2, 4, 5]
    assert store.best() == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:08d}" for step in (2, 4, 5)]
    assert store.load_best(model) == 2
    assert model.layers[0].bias.tolist() == [2.0] * 8
    assert Checkpoints(tmp_path).load_latest(model, optimizers) == {"step": 5}


def test_without_keep_best_only_the_newest_stay(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep_last=1, keep_best=False)
    for step, score in ((1, 1.0), (2, 2.0), (3, 3.0)):
        store.save(step, *fresh(), {}, score=score)
    assert store.steps() == [3]


def test_a_step_can_be_saved_again(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    store.save(1, *fresh(), {"said": "before"})
    store.save(1, *fresh(), {"said": "after"}, score=2.0)
    assert store.load_latest(*fresh()) == {"said": "after"}
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_what_a_kill_left_behind_is_tidied(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, *fresh(), {"step": 1})
    (tmp_path / "step-00000001").rename(tmp_path / "step-00000001.replaced")  # killed between two renames
    (tmp_path / "step-00000002.tmp").mkdir()
    assert Checkpoints(tmp_path).load_latest(*fresh()) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["bit", "missing", "cut", "manifest", "no manifest"])
def test_a_corrupt_newest_is_reported_and_the_one_before_is_used(damage: str, tmp_path: Path) -> None:
    notes = Notes()
    store = Checkpoints(tmp_path, progress=notes)
    for step in (1, 2):
        newest = store.save(step, *fresh(), {"step": step})
    tensors = next(newest.glob("*.safetensors"))
    if damage == "bit":
        flip_a_bit(tensors)
    if damage == "missing":
        tensors.unlink()
    if damage == "cut":
        os.truncate(newest / "state.json", 10)
    if damage == "manifest":
        (newest / "manifest.json").write_text('{"files"')
    if damage == "no manifest":
        (newest / "manifest.json").unlink()
    assert store.load_latest(*fresh()) == {"step": 1}
    assert len(notes.notes) == 1
    assert "checkpoint of step 2 is corrupt" in notes.notes[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000002.corrupt"]
    store.save(2, *fresh(), {"step": "2 again"})
    assert store.load_latest(*fresh()) == {"step": "2 again"}


def test_when_all_are_corrupt_training_does_not_silently_begin_again(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for step in (1, 2):
        flip_a_bit(store.save(step, *fresh(), {}) / "state.json")
    for _ in range(2):
        with pytest.raises(TrainingError, match="Every checkpoint of this run is corrupt"):
            store.load_latest(*fresh())
    assert store.steps() == [1, 2]


def test_a_corrupt_best_is_refused(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    flip_a_bit(next(store.save(1, *fresh(), {}, score=1.0).glob("*.safetensors")))
    with pytest.raises(TrainingError, match="best checkpoint is corrupt"):
        store.load_best(fresh()[0])


def test_another_model_is_refused(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    store.save(1, *fresh(), {})
    wider = Model(width=16)
    with pytest.raises(TrainingError, match="another model") as caught:
        store.load_latest(wider, adamw(wider, fused=True))
    assert "(11, 16)" in str(caught.value)


def test_another_optimizer_is_refused(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    store.save(1, *fresh("fused"), {})
    with pytest.raises(TrainingError, match="other optimizers"):
        store.load_latest(*fresh("muon"))


def test_nothing_is_pickled(tmp_path: Path) -> None:
    model, optimizers = fresh()
    train(model, optimizers, 1)
    path = Checkpoints(tmp_path).save(1, model, optimizers, {})
    assert {file.suffix for file in path.iterdir()} == {".json", ".safetensors"}


def test_ten_million_parameters_take_less_than_a_second(tmp_path: Path) -> None:
    model = nn.ModuleList(nn.Linear(1000, 1000) for _ in range(10))
    optimizers: Optimizers = [torch.optim.AdamW(model.parameters(), fused=True)]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers[0].step()
    store = Checkpoints(tmp_path)
    seconds = []
    for step in range(3):
        began = time.process_time()  # the disk's own time is the machine's, not ours
        store.save(step, model, optimizers, {})
        seconds.append(time.process_time() - began)
    assert min(seconds) < 1.0, seconds


@contextmanager
def full_disk(directory: Path, size: str) -> Iterator[None]:
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs is Linux's")
@pytest.mark.parametrize("foreseen", [True, False])
def test_a_full_disk_leaves_the_last_checkpoint(
    foreseen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(300, 300)  # 361 KB, so that the second does not fit
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monkeypatch.setattr(subject, "_SPARE_BYTES", 0)
    if not foreseen:  # somebody else fills the disk after we looked
        monkeypatch.setattr(subject.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1 << 40}))
    with full_disk(tmp_path / "small", "600k"):
        store = Checkpoints(tmp_path / "small")
        store.save(1, model, [optimizer], {"step": 1})
        with pytest.raises(ResourceError, match="disk is full") as caught:
            store.save(2, model, [optimizer], {"step": 2})
        assert "free some space" in str(caught.value)
        assert [path.name for path in (tmp_path / "small").iterdir()] == ["step-00000001"]
        assert store.load_latest(model, [optimizer]) == {"step": 1}


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_failing_flush_leaves_the_last_checkpoint(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Checkpoints(tmp_path)
    store.save(1, *fresh(), {"step": 1})
    calls = 0

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ResourceError, match="could not be written") as caught:
        store.save(2, *fresh(), {"step": 2})
    assert "check the disk" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert store.load_latest(*fresh()) == {"step": 1}


SAVER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_checkpoints import Checkpoints, fresh, train
model, optimizers = fresh()
store = Checkpoints(Path(sys.argv[1]))
state = store.load_latest(model, optimizers)
step = state["step"] if state else 0
while True:
    step += 1
    train(model, optimizers, 1)
    state = {{"step": step, "bias": model.layers[0].bias.tolist()}}
    store.save(step, model, optimizers, state, score=-step % 7)
    print("saved", flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_valid_checkpoint(tmp_path: Path) -> None:
    script = tmp_path / "saver.py"
    script.write_text(SAVER.format(tests=str(Path(__file__).parent)))
    chance = random.Random(0)
    last = 0
    for _ in range(6):
        child = subprocess.Popen([sys.executable, str(script), str(tmp_path / "run")], stdout=subprocess.PIPE)
        assert child.stdout and child.stdout.readline() == b"saved\n"
        time.sleep(chance.random() * 0.2)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        notes = Notes()
        model, optimizers = fresh()
        state = Checkpoints(tmp_path / "run", progress=notes).load_latest(model, optimizers)
        assert state is not None
        assert notes.notes == []  # what was cut off is not even seen
        assert state["step"] > last
        assert model.layers[0].bias.tolist() == state["bias"]
        last = state["step"]


def test_state_is_json(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path).save(1, *fresh(), {"tokens": 12345678901, "seconds": 0.1 + 0.2})
    stored = json.loads((path / "state.json").read_text())
    assert stored["state"] == {"tokens": 12345678901, "seconds": 0.1 + 0.2}
