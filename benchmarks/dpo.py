"""Direct preference optimisation beside TRL's DPOTrainer: pairs a second.

    python -m benchmarks.dpo [--rounds 3] [--steps 1] [--device cuda]

Pairs are PandaLM's answers that three people compared, as chats; the tokenizer is SmolLM2's, the model the
Llama of benchmarks.sft (17 M parameters). Both sides train everything, compute the reference once for each
pair that they train on, and cut nothing: pairs of more than 1,024 tokens are left out. Tokens are compared
before anything is timed; that both losses are equal is a test (tests/objectives).
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.environments import peer_environment
from benchmarks.harness import Worker, interleave, report, same
from benchmarks.material import SHARED_DATA, smollm2_tokenizer, write_lines, write_llama

DATA = "preference/pandalm-human.jsonl.gz"
BATCH_PAIRS = 8  # TRL's default
LONGEST = 1024  # of one sequence, TRL's default; a row of ours is a pair


def pairs() -> Iterator[dict[str, Any]]:
    """Prompts with a chosen and a rejected answer, as messages."""
    with gzip.open(SHARED_DATA / DATA, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            answers = {name: row[name].strip() for name in ("chosen", "rejected")}
            if all(answers.values()) and answers["chosen"] != answers["rejected"]:
                said = {name: [{"role": "assistant", "content": text}] for name, text in answers.items()}
                yield {"messages": [{"role": "user", "content": row["prompt"].strip()}], **said}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1, help="the peer's steps in a round")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory, tokenizer = Path(folder), smollm2_tokenizer()
        size = write_llama(directory, tokenizer, hidden_size=256, layers=6, intermediate_size=640)
        rows = [row for row in pairs() if _tokens(tokenizer, row) <= LONGEST]
        write_lines(directory / "rows.jsonl", rows)
        print(f"a Llama of {size['parameters']:,} parameters on {arguments.device}, {len(rows)} pairs")
        python = peer_environment("trl") / "python"
        peer = Worker(
            "benchmarks.workers.dpo_trl", directory, str(BATCH_PAIRS), str(LONGEST), arguments.device,
            python=python,
        )  # fmt: skip
        total = peer.ask("totals")
        batch = max(1, round(BATCH_PAIRS * total["tokens"] / len(rows) / LONGEST)) * LONGEST
        settings = {
            "sequence_length": LONGEST, "batch_tokens": batch, "micro_batch_tokens": 4096,
            "learning_rate": 1e-6, "weight_decay": 0.0, "device": arguments.device,
        }  # fmt: skip
        ours = Worker("benchmarks.workers.ours", directory, "dpo", json.dumps(settings))
        found = ours.ask("totals")
        for what in ("tokens", "trained_tokens"):
            same(f"{what} of the whole data", found[what], total[what])

        def speed(worker: Worker, steps: int) -> float:
            timed = worker.ask("train", steps=steps)
            return float(timed["rows"] / timed["seconds"])

        ours.ask("train", steps=1)
        figures = interleave(
            {
                "ours": lambda: speed(ours, 4 * arguments.steps),
                "peer": lambda: speed(peer, arguments.steps),
            },
            arguments.rounds,
        )
        ours.close()
        peer.close()
    report("dpo", figures, unit="pairs/s", parameters=size["parameters"], device=arguments.device)


def _tokens(tokenizer: Any, row: dict[str, Any]) -> int:
    chats = [([*row["messages"], *row[name]], None) for name in ("chosen", "rejected")]
    return sum(len(chat.ids) for chat in tokenizer.encode_chats(chats))


if __name__ == "__main__":
    main()
