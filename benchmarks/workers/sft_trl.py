"""The peer of benchmarks.sft: TRL's SFTTrainer at its defaults, in fp32 on CPU, without checkpointing.

Runs in an environment without hanji. Arguments: a folder with the model and `rows.jsonl` (chats of a
question and an answer), `padded` or `packing`, the batch in rows, the device.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from benchmarks.workers.protocol import Answer, serve
from benchmarks.workers.trainer_clock import Clock

IGNORED = -100


class CountedTrainer(SFTTrainer):
    """TRL's trainer, with a count of the real tokens that pass through it."""

    clock: Clock

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        self.clock.count(tokens=real_tokens(inputs), rows=len(inputs["input_ids"]))
        return super().training_step(model, inputs, *rest, **more)


def real_tokens(inputs: dict[str, Any]) -> int:
    """Tokens without padding; a flat batch has next to none."""
    mask = inputs.get("attention_mask")
    return int(mask.sum()) if mask is not None else int(inputs["input_ids"].numel())


class Peer:
    """TRL's trainer, trained anew for some steps whenever it is asked to."""

    def __init__(self, directory: Path, packing: bool, batch_rows: int, device: str) -> None:
        with (directory / "rows.jsonl").open(encoding="utf-8") as lines:
            chats = [json.loads(line)["messages"] for line in lines]
        rows = [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats]
        self.trainer = CountedTrainer(
            model=AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(directory),
            train_dataset=Dataset.from_list(rows),
            args=SFTConfig(
                output_dir=str(directory / "trl"), bf16=device == "cuda", gradient_checkpointing=False,
                packing=packing, per_device_train_batch_size=batch_rows, use_cpu=device == "cpu",
                report_to="none", save_strategy="no", disable_tqdm=True,
            ),
        )  # fmt: skip
        self.trainer.clock = Clock()
        self.trainer.add_callback(self.trainer.clock)

    def totals(self) -> Answer:
        """Tokens of the whole data; the first of a document is never predicted."""
        columns = self.trainer.train_dataset[:]
        return {
            "tokens": sum(map(len, columns["input_ids"])),
            "trained_tokens": sum(label != IGNORED for labels in columns["labels"] for label in labels),
        }

    def first_batch(self) -> Answer:
        """The first rows of the data as a batch: its documents, and its loss before any step."""
        trainer = self.trainer
        count = trainer.args.per_device_train_batch_size
        rows = [trainer.train_dataset[index] for index in range(count)]
        inputs = trainer._prepare_inputs(trainer.data_collator(rows))
        with torch.no_grad(), trainer.compute_loss_context_manager():
            loss = float(trainer.compute_loss(trainer.model, inputs))
        lengths = [length for row in rows for length in row.get("seq_lengths") or [len(row["input_ids"])]]
        return {
            "loss": loss,
            "ids": [token for row in rows for token in row["input_ids"]],
            "trained": [label != IGNORED for row in rows for label in row["labels"]],
            "lengths": lengths,
        }

    def train(self, steps: int) -> Answer:
        """Real tokens and seconds of `steps` steps, after one to warm up."""
        return self.trainer.clock.timed(self.trainer, steps)


if __name__ == "__main__":
    peer = Peer(Path(sys.argv[1]), sys.argv[2] == "packing", int(sys.argv[3]), sys.argv[4])
    serve({"totals": peer.totals, "first_batch": peer.first_batch, "train": peer.train})
