"""Our side of a training benchmark: rows to a token store, stream, policy and loop, as a stage joins them.

Arguments: a folder with the model and `rows.jsonl`, the objective, and settings as JSON: `sequence_length`,
`batch_tokens`, `micro_batch_tokens`, `learning_rate`, `weight_decay`, `device`, and where another than full
training is meant `method`, a name with its options.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.workers.memory import highest_resident_bytes, resident_bytes
from benchmarks.workers.protocol import Answer, serve
from hanji.contracts.batch import Batch
from hanji.contracts.progress import Silent
from hanji.contracts.protocols import Task
from hanji.contracts.rows import TokenRows
from hanji.data.stream import TrainingStream
from hanji.data.token_store import build_token_store
from hanji.methods import METHODS
from hanji.models.load import load_model
from hanji.models.policies import policy_for
from hanji.objectives import OBJECTIVES
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.training.callbacks import Log
from hanji.training.loop import Run, fit
from hanji.training.metrics_log import MetricsLog
from hanji.training.non_finite import NonFinite
from hanji.training.optimizers import build_optimizers
from hanji.training.schedules import schedule

ROWS_AT_ONCE = 1024


class Ours:
    """A training run that goes on for some steps whenever it is asked to."""

    def __init__(self, directory: Path, objective: str, settings: dict[str, Any]) -> None:
        tokenizer = Tokenizer.load(directory)
        chosen = OBJECTIVES.load(objective)()
        length = settings["sequence_length"]
        chosen.bind(Task(tokenizer, length))

        def encode(rows: Sequence[Mapping[str, Any]]) -> TokenRows:
            encoded = chosen.encode(rows, tokenizer)
            return _full_rows_only(encoded, length) if objective == "clm" else encoded

        self.store = build_token_store(
            _rows(directory / "rows.jsonl"), encode,
            directory / f"tokens-{objective}-{settings['batch_tokens']}",
            sequence_length=length, overlong=chosen.overlong[0] if objective != "sft" else "error",
        )  # fmt: skip
        device, self.before = settings["device"], resident_bytes()
        options = dict(settings.get("method") or {"name": "full"})
        method = METHODS.load(options.pop("name"))(**options)
        model: Any = method.apply(load_model(directory, head=chosen.head))
        # without a method to switch off, the reference is the model as it stands: the same work
        policy = policy_for(
            chosen.head, model.to(device), pad_id=tokenizer.pad_id,
            precision=torch.bfloat16 if device == "cuda" else None, switch_off=nullcontext,
        )  # fmt: skip
        self.new_stream = partial(
            TrainingStream, [self.store], sequence_length=length,
            batch_tokens=settings["batch_tokens"], seed=0,
        )  # fmt: skip
        self.rows = _Counted(self.new_stream())
        rate = settings["learning_rate"]
        self.run = Run(
            policy=policy, objective=chosen, rows=self.rows,
            optimizers=build_optimizers(
                policy, "adamw", learning_rate=rate, weight_decay=settings["weight_decay"]
            ),
            schedule=schedule("constant", learning_rate=rate, steps=1),
            steps=0, micro_batch_tokens=settings["micro_batch_tokens"],
            non_finite=NonFinite(directory, "stop"),
        )  # fmt: skip
        self.log = Log(Silent(), [MetricsLog(directory / "metrics.jsonl")], every=10)

    def totals(self) -> Answer:
        """Tokens of the whole data."""
        statistics = self.store.statistics
        learning = sum(p.numel() for p in self.run.policy.parameters() if p.requires_grad)
        return {
            "tokens": statistics["tokens"], "trained_tokens": statistics["trained_tokens"],
            "learning": learning,
        }  # fmt: skip

    def loss(self, ids: list[int], trained: list[bool], lengths: list[int]) -> Answer:
        """The mean loss of exactly these documents, before any step."""
        rows = TokenRows(
            np.array(ids, np.int32), np.array(lengths, np.int64), np.array(trained),
            np.zeros(len(lengths), np.int64),
        )  # fmt: skip
        batch = self.run.objective.collate(rows).to(self.run.policy.device)
        with torch.no_grad():
            loss = self.run.objective.loss(self.run.policy, batch)
        mean = loss.normalised(self.run.objective.counts(batch))
        return {"loss": float(mean), "trained_tokens": batch.trained_tokens}

    def hidden_loss(self, ids: list[int], labels: list[int], lengths: list[int]) -> Answer:
        """The mean loss of exactly these documents with these hidden tokens, before any step."""
        batch = Batch(torch.tensor(ids), torch.tensor(labels), tuple(lengths)).to(self.run.policy.device)
        with torch.no_grad():
            loss = self.run.objective.loss(self.run.policy, batch)
        return {"loss": float(loss.normalised(self.run.objective.counts(batch)))}

    def batches(self, steps: int, path: str) -> Answer:
        """Writes the next `steps` batches as they will be trained on: [steps, rows, sequence], all full."""
        stream = self.new_stream()
        drawn = [stream.next_rows() for _ in range(steps)]
        length = int(drawn[0].lengths[0])
        assert all((rows.lengths == length).all() for rows in drawn), "rows that are not all of one length"
        np.save(path, np.stack([rows.ids.reshape(-1, length) for rows in drawn]))
        first = drawn[0]
        return {
            "ids": first.ids.tolist(), "trained": first.trained.tolist(), "lengths": first.lengths.tolist()
        }  # fmt: skip

    def train(self, steps: int) -> Answer:
        """Real tokens and seconds of `steps` more steps."""
        tokens, began = self.run.tokens, time.perf_counter()
        self.rows.count = 0
        self.run.steps += steps
        fit(self.run, [self.log])
        seconds = time.perf_counter() - began
        return {"tokens": self.run.tokens - tokens, "rows": self.rows.count, "seconds": seconds}

    def memory(self) -> Answer:
        """Bytes by which the process grew at its highest since before the model was loaded."""
        return {"bytes": highest_resident_bytes() - self.before}


class _Counted:
    """The stream, counting the rows that it gives."""

    def __init__(self, stream: TrainingStream) -> None:
        self.stream, self.count = stream, 0

    def next_rows(self) -> TokenRows:
        rows = self.stream.next_rows()
        self.count += len(rows)
        return rows


def _full_rows_only(document: TokenRows, length: int) -> TokenRows:
    """The beginning of one document that splits into full rows, which share a token with the row before."""
    assert len(document) == 1, "one document, so that only its end can be a short row"
    whole = (len(document.ids) - 1) // (length - 1) * (length - 1) + 1
    return TokenRows(
        document.ids[:whole], np.array([whole], np.int64), document.trained[:whole], document.text_bytes
    )


def _rows(path: Path) -> Iterator[list[dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


if __name__ == "__main__":
    ours = Ours(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
    serve(
        {
            "totals": ours.totals, "loss": ours.loss, "hidden_loss": ours.hidden_loss,
            "batches": ours.batches, "train": ours.train, "memory": ours.memory,
        }
    )  # fmt: skip
