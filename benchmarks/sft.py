"""Instruction tuning beside TRL's SFTTrainer: real tokens a second, padded (batch 16) and with packing=True.

    python -m benchmarks.sft [--against padded|packing|both] [--rounds 3] [--steps 3] [--device cuda]

Rows are GSM8K's questions and answers as chats, the tokenizer is SmolLM2's, the model a Llama of 17 M
parameters. Both sides train on the answers only: the counts of tokens over the whole data, and the loss of
the peer's first batch, are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.environments import peer_environment
from benchmarks.harness import Figures, Worker, interleave, ratio, report, same
from benchmarks.material import read_lines, smollm2_tokenizer, write_lines, write_llama

DATA = "instruct/gsm8k-train.jsonl.gz"
SEQUENCE_LENGTH = 1024  # TRL's default max_length; no row is longer
BATCH_ROWS = {"padded": 16, "packing": 8}  # 8 is TRL's default
LOSS_TOLERANCE = {"cpu": 1e-5, "cuda": 2e-3}


def chats() -> Iterator[dict[str, Any]]:
    """GSM8K as chats of two turns."""
    for line in read_lines(DATA):
        row = json.loads(line)
        turns = (("user", row["question"]), ("assistant", row["answer"]))
        yield {"messages": [{"role": role, "content": text.strip()} for role, text in turns]}


def compare(directory: Path, against: str, arguments: argparse.Namespace) -> dict[str, Figures]:
    """Tokens a second of both sides, after they proved to do the same work."""
    rows = BATCH_ROWS[against]
    trl = peer_environment("trl") / "python"
    peer = Worker("benchmarks.workers.sft_trl", directory, against, str(rows), arguments.device, python=trl)
    totals, first = peer.ask("totals"), peer.ask("first_batch")
    batch_tokens = sum(first["lengths"]) if against == "padded" else rows * SEQUENCE_LENGTH
    settings = {
        "sequence_length": SEQUENCE_LENGTH, "batch_tokens": batch_tokens, "micro_batch_tokens": 4096,
        "learning_rate": 2e-5, "weight_decay": 0.0, "device": arguments.device,
    }  # fmt: skip
    ours = Worker("benchmarks.workers.ours", directory, "sft", json.dumps(settings))
    found = ours.ask("totals")
    for what in ("tokens", "trained_tokens"):
        same(f"{what} of the whole data", found[what], totals[what])
    loss = first.pop("loss")
    same("loss of the first batch", ours.ask("loss", **first)["loss"], loss, LOSS_TOLERANCE[arguments.device])

    def speed(worker: Worker, steps: int) -> float:
        timed = worker.ask("train", steps=steps)
        return float(timed["tokens"] / timed["seconds"])

    ours.ask("train", steps=1)
    our_steps = arguments.steps * 3  # the faster side runs as long
    figures = interleave(
        {"ours": lambda: speed(ours, our_steps), "peer": lambda: speed(peer, arguments.steps)},
        arguments.rounds,
    )
    ours.close()
    peer.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", choices=("padded", "packing", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="the peer's steps in a round")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    arguments = parser.parse_args()
    against = ("padded", "packing") if arguments.against == "both" else (arguments.against,)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_lines(directory / "rows.jsonl", chats())
        size = write_llama(
            directory, smollm2_tokenizer(), hidden_size=arguments.hidden_size, layers=arguments.layers,
            intermediate_size=arguments.hidden_size * 5 // 2,
        )  # fmt: skip
        print(f"a Llama of {size['parameters']:,} parameters on {arguments.device}")
        found = {}
        for which in against:
            print(f"TRL {which}, {BATCH_ROWS[which]} rows a step")
            found[which] = compare(directory, which, arguments)
    ratios = {f"ratio_{which}": ratio(both["ours"], both["peer"]) for which, both in found.items()}
    peers = {f"peer_{which}": both["peer"].median for which, both in found.items()}
    report(
        "sft", found[against[0]], unit="real tokens/s", against=against[0], **ratios, **peers,
        parameters=size["parameters"], device=arguments.device,
    )  # fmt: skip


if __name__ == "__main__":
    main()
