"""Trains a model of the given shape for some steps in a process of its own, and prints what that took.

Run by test_accuracy.py: `python measured_run.py '{"model": ..., ...}'` prints one JSON line.
"""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from hanji.contracts.rows import TokenRows
from hanji.models.load import from_config
from hanji.models.policies import CausalPolicy
from hanji.models.presets import preset_config
from hanji.objectives import OBJECTIVES
from hanji.training.loop import Run, training_step
from hanji.training.optimizers import build_optimizers


@dataclass
class RandomRows:
    """Documents of one length."""

    vocabulary: int
    documents: int
    length: int

    def next_rows(self) -> TokenRows:
        tokens = self.documents * self.length
        trained = np.ones(tokens, np.bool_)
        trained[:: self.length] = False
        ids = np.random.default_rng(0).integers(0, self.vocabulary, tokens).astype(np.int32)
        lengths = np.full(self.documents, self.length, np.int64)
        return TokenRows(ids, lengths, trained, lengths)


class Unconcerned:
    """Losses of random text are finite."""

    def refuses(self, *_: object) -> bool:
        return False


def highest_resident_bytes() -> int:
    """Of this process; getrusage would tell the parent's, where that was larger when it forked."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


def main(said: dict[str, int | str]) -> None:
    """Prints parameters, growth of the process in bytes, and seconds of the quickest step."""
    before = psutil.Process().memory_info().rss
    config = preset_config(str(said["model"]), vocab_size=int(said["vocabulary"]))
    policy = CausalPolicy(from_config(config, 0), pad_id=0)
    documents = int(said["batch_tokens"]) // int(said["length"])
    run = Run(
        policy=policy, objective=OBJECTIVES.load("clm")(),
        rows=RandomRows(config.vocab_size, documents, int(said["length"])),
        optimizers=build_optimizers(policy, "adamw", learning_rate=1e-4, weight_decay=0.1),
        schedule=lambda step: 1e-4, steps=int(said["steps"]),
        micro_batch_tokens=int(said["micro_batch_tokens"]),
        non_finite=Unconcerned(),  # type: ignore[arg-type]
    )  # fmt: skip
    policy.train()
    # with one thread the processor's time for us is measured, and others' work is not in it
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds = []
    for _ in range(int(said["steps"])):
        began = clock()
        training_step(run)
        seconds.append(clock() - began)
    found = {
        "parameters": sum(parameter.numel() for parameter in policy.parameters()),
        "growth": highest_resident_bytes() - before,
        "seconds": min(seconds),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
