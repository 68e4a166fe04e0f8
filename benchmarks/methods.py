"""One training step by each method on SmolLM2's shape, beside full training; and LoRA beside PEFT's own.

    python -m benchmarks.methods [--rounds 3] [--tokens 1024]

The model is a blank Llama of 135 M parameters (hidden size 576, 30 layers, a vocabulary of 49,152); rows are
speeches in full sequences, so that padding is no question. Each method runs in a process of its own, whose
growth is its memory. The peer of LoRA is PEFT under a loop in bare PyTorch, with the same targets and rows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import Figures, Worker, interleave, ratio, report, same
from benchmarks.material import read_lines, smollm2_tokenizer, write_lines, write_smollm2_shape

METHODS: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "freeze": {"name": "freeze", "top_layers": 2},
    "adapter": {"name": "adapter"},
    "prompt": {"name": "prompt"},
    "lora": {"name": "lora", "rank": 16},
}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SEQUENCE_LENGTH = 256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=1024, help="of a step")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        parameters = write_smollm2_shape(directory, smollm2_tokenizer())
        write_lines(
            directory / "rows.jsonl", [{"text": "".join(read_lines("pretrain-en/sotu.txt.gz"))[:400_000]}]
        )
        print(f"a Llama of {parameters:,} parameters, {arguments.tokens} tokens a step")
        settings = {
            "sequence_length": SEQUENCE_LENGTH, "batch_tokens": arguments.tokens,
            "micro_batch_tokens": arguments.tokens, "learning_rate": 1e-4, "weight_decay": 0.0,
            "device": "cpu",
        }  # fmt: skip
        workers = {
            name: Worker(
                "benchmarks.workers.ours", directory, "clm", json.dumps(settings | {"method": method})
            )
            for name, method in METHODS.items()
        }
        peer = Worker(
            "benchmarks.workers.lora_peft", directory,
            json.dumps({"rank": 16, "targets": TARGETS, "learning_rate": 1e-4}),
        )  # fmt: skip
        workers["lora"].ask("batches", steps=4, path=str(directory / "batches.npy"))
        learned = peer.ask("take", path=str(directory / "batches.npy"))["learning"]
        same("parameters that LoRA learns", workers["lora"].ask("totals")["learning"], learned)
        sides = {**workers, "peft": peer}
        for worker in sides.values():
            worker.ask("train", steps=1)

        def speed(worker: Worker) -> float:
            timed = worker.ask("train", steps=1)
            return float(timed["tokens"] / timed["seconds"])

        figures: dict[str, Figures] = interleave(
            {name: (lambda worker=worker: speed(worker)) for name, worker in sides.items()}, arguments.rounds
        )
        memory = {name: worker.ask("memory")["bytes"] for name, worker in sides.items()}
        for worker in sides.values():
            worker.close()
    print(f"{'method':>10} {'tokens/s':>10} {'× full':>8} {'peak memory':>12}")
    for name, found in figures.items():
        faster = ratio(found, figures["full"])
        print(f"{name:>10} {found.median:>10,.0f} {faster:>8.2f} {memory[name] / 1e9:>9.2f} GB")
    report(
        "methods", {"ours": figures["lora"], "peer": figures["peft"]}, unit="tokens/s",
        **{f"{name}_over_full": ratio(figures[name], figures["full"]) for name in METHODS if name != "full"},
        **{f"{name}_gigabytes": size / 1e9 for name, size in memory.items()}, parameters=parameters,
    )  # fmt: skip


if __name__ == "__main__":
    main()
