"""The peer of benchmarks.dpo: TRL's DPOTrainer at its defaults, in fp32 on CPU, without checkpointing.

Runs in an environment without hanji. Arguments: a folder with the model and `rows.jsonl` (preferences), the
batch in pairs, the longest sequence, the device.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from benchmarks.workers.protocol import Answer, serve
from benchmarks.workers.trainer_clock import Clock


class CountedTrainer(DPOTrainer):
    """TRL's trainer, with a count of the pairs that pass through it."""

    clock: Clock

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        mask = inputs["attention_mask"]
        self.clock.count(tokens=int(mask.sum()), rows=len(mask) // 2)
        return super().training_step(model, inputs, *rest, **more)


class Peer:
    """TRL's trainer, trained anew for some steps whenever it is asked to."""

    def __init__(self, directory: Path, batch_pairs: int, max_length: int, device: str) -> None:
        with (directory / "rows.jsonl").open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        pairs = [
            {"prompt": row["messages"], "chosen": row["chosen"], "rejected": row["rejected"]} for row in rows
        ]
        self.trainer = CountedTrainer(
            model=AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(directory),
            train_dataset=Dataset.from_list(pairs),
            args=DPOConfig(
                output_dir=str(directory / "trl"), bf16=device == "cuda", gradient_checkpointing=False,
                per_device_train_batch_size=batch_pairs, max_length=max_length, use_cpu=device == "cpu",
                report_to="none", save_strategy="no", disable_tqdm=True,
            ),
        )  # fmt: skip
        self.trainer.clock = Clock()
        self.trainer.add_callback(self.trainer.clock)

    def totals(self) -> Answer:
        """Tokens of all pairs, both answers with their prompt."""
        rows = self.trainer.train_dataset[:]
        parts = (rows["prompt_ids"], rows["chosen_ids"], rows["rejected_ids"])
        prompts, chosen, rejected = (sum(map(len, part)) for part in parts)
        return {"tokens": 2 * prompts + chosen + rejected, "trained_tokens": chosen + rejected}

    def train(self, steps: int) -> Answer:
        """Pairs and seconds of `steps` steps, after one to warm up."""
        return self.trainer.clock.timed(self.trainer, steps)


if __name__ == "__main__":
    peer = Peer(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    serve({"totals": peer.totals, "train": peer.train})
