"""The peer of benchmarks.pretrain: a loop in bare PyTorch over batches that it is given.

Arguments: a folder with the model; as JSON, `learning_rate`, `weight_decay`, `device`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from benchmarks.workers.protocol import Answer, serve


class Bare:
    """What a careful person writes by hand: fused AdamW, clipping, autocast on CUDA, and nothing else."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.device = settings["device"]
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self.model = model.to(self.device).train()
        decayed = [p for p in model.parameters() if p.ndim >= 2]
        plain = [p for p in model.parameters() if p.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": settings["weight_decay"]},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=settings["learning_rate"], betas=(0.9, 0.95), fused=True
        )
        self.batches: torch.Tensor = torch.empty(0)
        self.step = 0

    def take(self, path: str) -> Answer:
        """Reads the batches, [steps, rows, sequence], and says the loss of the first before any step."""
        self.batches = torch.from_numpy(np.load(path).astype(np.int64))
        with torch.no_grad():
            return {"loss": float(self._loss(self.batches[0].to(self.device)))}

    def train(self, steps: int) -> Answer:
        """Seconds of `steps` more steps, and their tokens."""
        began, tokens = time.perf_counter(), 0
        for _ in range(steps):
            ids = self.batches[self.step % len(self.batches)].to(self.device)
            loss = self._loss(ids)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            loss.item()
            self.step += 1
            tokens += ids.numel()
        return {"tokens": tokens, "seconds": time.perf_counter() - began}

    def _loss(self, ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            logits = self.model(ids, use_cache=False).logits
        return cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten())


if __name__ == "__main__":
    bare = Bare(Path(sys.argv[1]), json.loads(sys.argv[2]))
    serve({"take": bare.take, "train": bare.train})
