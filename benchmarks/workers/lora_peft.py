"""The peer of benchmarks.methods: PEFT's LoRA under a loop in bare PyTorch, over batches that it is given.

Arguments: a folder with the model; as JSON, `rank`, `targets`, `learning_rate`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from benchmarks.workers.memory import highest_resident_bytes, resident_bytes
from benchmarks.workers.protocol import Answer, serve


class BareLora:
    """What a careful person writes by hand with PEFT: the model's own loss, fused AdamW, clipping."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.before = resident_bytes()
        base = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        config = LoraConfig(
            r=settings["rank"], lora_alpha=2 * settings["rank"], target_modules=settings["targets"],
            task_type="CAUSAL_LM",
        )  # fmt: skip
        self.model = get_peft_model(base, config).train()
        self.learning = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.learning, lr=settings["learning_rate"], fused=True)
        self.batches: torch.Tensor = torch.empty(0)

    def take(self, path: str) -> Answer:
        """Reads the batches, [steps, rows, sequence]."""
        self.batches = torch.from_numpy(np.load(path).astype(np.int64))
        return {"learning": sum(p.numel() for p in self.learning)}

    def train(self, steps: int) -> Answer:
        """Seconds of `steps` more steps, and their tokens."""
        began, tokens = time.perf_counter(), 0
        for step in range(steps):
            ids = self.batches[step % len(self.batches)]
            loss = self.model(input_ids=ids, labels=ids, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            loss.item()
            tokens += ids.numel()
        return {"tokens": tokens, "seconds": time.perf_counter() - began}

    def memory(self) -> Answer:
        """Bytes by which the process grew at its highest since before the model was loaded."""
        return {"bytes": highest_resident_bytes() - self.before}


if __name__ == "__main__":
    bare = BareLora(Path(sys.argv[1]), json.loads(sys.argv[2]))
    serve({"take": bare.take, "train": bare.train, "memory": bare.memory})
