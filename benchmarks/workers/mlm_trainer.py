"""The peer of benchmarks.mlm: transformers' Trainer with dynamic padding and its own collator.

Runs in an environment without hanji. Arguments: a folder with the model and `rows.jsonl` (texts), the batch
in rows, the device.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

from benchmarks.workers.protocol import Answer, serve
from benchmarks.workers.trainer_clock import Clock


class CountedTrainer(Trainer):
    """transformers' trainer, with a count of the real tokens that pass through it."""

    clock: Clock

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        self.clock.count(tokens=int(inputs["attention_mask"].sum()), rows=len(inputs["attention_mask"]))
        return super().training_step(model, inputs, *rest, **more)


class Peer:
    """The trainer, trained anew for some steps whenever it is asked to."""

    def __init__(self, directory: Path, batch_rows: int, device: str) -> None:
        tokenizer = AutoTokenizer.from_pretrained(directory)
        with (directory / "rows.jsonl").open(encoding="utf-8") as lines:
            rows = [tokenizer(json.loads(line)["text"]) for line in lines]
        self.rows = [{"input_ids": row["input_ids"], "attention_mask": row["attention_mask"]} for row in rows]
        self.trainer = CountedTrainer(
            model=AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32),
            train_dataset=Dataset.from_list(self.rows),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
            args=TrainingArguments(
                output_dir=str(directory / "trainer"), bf16=device == "cuda", use_cpu=device == "cpu",
                per_device_train_batch_size=batch_rows, learning_rate=1e-4, max_steps=1,
                report_to="none", save_strategy="no", disable_tqdm=True,
            ),
        )  # fmt: skip
        self.trainer.clock = Clock()
        self.trainer.add_callback(self.trainer.clock)

    def totals(self) -> Answer:
        """Tokens of the whole data."""
        return {"tokens": sum(len(row["input_ids"]) for row in self.rows)}

    def first_batch(self) -> Answer:
        """The first rows with hidden tokens: what the model is shown, what it should say, and its loss."""
        trainer = self.trainer
        torch.manual_seed(0)
        inputs = trainer._prepare_inputs(
            trainer.data_collator(self.rows[: trainer.args.per_device_train_batch_size])
        )
        trainer.model.eval()
        with torch.no_grad():
            loss = float(trainer.compute_loss(trainer.model, dict(inputs)))
        real = inputs["attention_mask"].bool()
        shown, labels = inputs["input_ids"][real].tolist(), inputs["labels"][real].tolist()
        return {
            "loss": loss, "ids": shown, "labels": labels, "lengths": real.sum(1).tolist(),
        }  # fmt: skip

    def train(self, steps: int) -> Answer:
        """Real tokens and seconds of `steps` steps, after one to warm up."""
        return self.trainer.clock.timed(self.trainer, steps)


if __name__ == "__main__":
    peer = Peer(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    serve({"totals": peer.totals, "first_batch": peer.first_batch, "train": peer.train})
