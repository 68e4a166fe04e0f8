"""A run that is killed at any step and resumed ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hanji.artifacts.digest import file_sha256

WORDS = ("paper", "ink", "brush", "stone", "river", "bridge", "house", "red", "green", "white")

RECIPE = """
name: kill
device: cpu
stages:
  one: {kind: prepare, source: {path: one.txt, documents: line}, split: {validation: 0.1}}
  two: {kind: prepare, source: {path: two.txt, documents: line}, split: {validation: 0.1}}
  tokenizer: {kind: tokenizer, data: one, vocab_size: 300}
  base:
    kind: pretrain
    model: gpt2-nano
    config: {resid_pdrop: 0.1, embd_pdrop: 0.1, attn_pdrop: 0.1}
    tokenizer: tokenizer
    data: [{data: one, weight: 3}, {data: two, weight: 1}]
    train:
      steps: 60
      optimizer: muon
      sequence_length: 64
      batch_tokens: 512
      micro_batch_tokens: 200
      evaluate_every: 7
      checkpoint_every: 1
      keep_best: true
      log_every: 1
"""


def command(directory: Path, runs: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "hanji",
        "run",
        str(directory / "kill.yaml"),
        "--runs",
        str(directory / runs),
    ]


@pytest.mark.slow
def test_killed_at_random_and_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    draw = random.Random(0)
    for name in ("one", "two"):
        lines = [" ".join(draw.choices(WORDS, k=draw.randint(3, 40))) for _ in range(200)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    (tmp_path / "kill.yaml").write_text(RECIPE)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = {"cwd": tmp_path, "env": environment}
    subprocess.run(command(tmp_path, "whole"), check=True, **options)

    kills = 0
    chance = random.Random()
    for _ in range(4):
        process = subprocess.Popen(command(tmp_path, "killed"), **options)
        checkpoints = tmp_path / "killed/kill/base"
        deadline = time.monotonic() + 120
        seen = set(checkpoints.glob("*.partial/checkpoints/step-*"))
        while not set(checkpoints.glob("*.partial/checkpoints/step-*")) - seen and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills, "every run ended before it could be killed"
    subprocess.run(command(tmp_path, "killed"), check=True, **options)

    whole, killed = (tmp_path / runs / "kill/base/current" for runs in ("whole", "killed"))
    assert file_sha256(whole / "model.safetensors") == file_sha256(killed / "model.safetensors")
    steps = [[line.split(",")[0] for line in (run / "metrics.jsonl").open()] for run in (whole, killed)]
    assert steps[0] == steps[1], "each step stands in the metrics once"
