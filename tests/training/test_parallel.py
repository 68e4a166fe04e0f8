"""Two Gloo ranks against one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hanji.contracts.errors import ConfigError
from hanji.training.parallel import Parallel
from training import ranks_program

SINGLE = Parallel.single()


def relative_difference(ours: Path, theirs: Path) -> float:
    a, b = load_file(ours), load_file(theirs)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).norm() / b[name].norm()) for name in a)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the ranks have: with more, PiSSA's factors differ by the rounding of float32."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", ["llama", "gpt2", "llama:thawing", "llama:pissa", "llama:qlora"])
def test_two_ranks_train_like_one_and_each_resumes_the_other(family: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    ranks_program.train(SINGLE, one / "straight", "straight", family)
    (two / "resume").mkdir(parents=True)
    shutil.copytree(one / "straight" / "checkpoints", two / "resume" / "checkpoints")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = [str(Path(ranks_program.__file__)), str(two), "straight,resume", family]
    ran = subprocess.run(
        [*command, *program], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]

    straight = one / "straight" / "straight-1.safetensors"
    assert relative_difference(two / "straight" / "straight-2.safetensors", straight) < 1e-11
    ours = json.loads((two / "straight" / "straight-2.json").read_text())
    theirs = json.loads((one / "straight" / "straight-1.json").read_text())
    for mine, its in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(its, rel=1e-6)  # the loss is told in float32
    if ":" not in family:
        assert max(norm for _, norm, _ in theirs) > 0.5  # gradients were clipped

    assert relative_difference(two / "resume" / "resume-2.safetensors", straight) < 1e-11
    (one / "resume").mkdir()
    shutil.copytree(two / "straight" / "checkpoints", one / "resume" / "checkpoints")
    ranks_program.train(SINGLE, one / "resume", "resume", family)
    assert relative_difference(one / "resume" / "resume-1.safetensors", straight) < 1e-11


def test_one_process_needs_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = Parallel.from_environment("cpu")
    assert (alone.rank, alone.world_size, alone.main) == (0, 1, True)
    assert alone.sum({"tokens": 3}) == {"tokens": 3.0}
    assert alone.gather("x") == ["x"]
    assert alone.on_main(lambda: 5) == 5
    assert alone.max(2) == 2.0
    alone.barrier()
    alone.close()


def test_a_half_described_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(ConfigError, match="LOCAL_RANK"):
        Parallel.from_environment("cpu")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ConfigError, match="WORLD_SIZE"):
        Parallel.from_environment("cpu")


def test_several_ranks_on_mps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="Several ranks cannot train on this device"):
        Parallel.from_environment("mps")


@pytest.mark.parametrize("max_norm", [None, 0.1, 100.0])
def test_clipping_returns_the_norm_before_it(max_norm: float | None) -> None:
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    expected = torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert SINGLE.clip_grad_norm(model.parameters(), max_norm) == pytest.approx(expected.item())
    after = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert after.item() == pytest.approx(min(expected.item(), max_norm or 1e9), rel=1e-4)


def test_the_full_state_of_one_process_is_the_modules_own() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    state = SINGLE.gather_full_state(model)
    assert {name: tensor.tolist() for name, tensor in state.items()} == {
        name: tensor.tolist() for name, tensor in model.state_dict().items()
    }
