"""Pre-training beside a bare PyTorch loop, on the same weights and batches; and how near both come to the
machine's own matmul rate.

    python -m benchmarks.pretrain [--rounds 5] [--steps 8] [--device cuda] [--hidden-size 256] [--layers 6]

Every row is full and of one document, so that packing gives neither side an advantage. The loss of the first
batch is compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

from benchmarks.harness import Worker, interleave, report, same
from benchmarks.material import matmul_flops_per_second, read_lines, write_lines, write_llama
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer

DATA = "pretrain-en/tinyshakespeare.txt.gz"
VOCABULARY = 4096
LOSS_TOLERANCE = {"cpu": 1e-5, "cuda": 2e-3}


def flops_per_token(matrix_parameters: int, layers: int, hidden_size: int, sequence_length: int) -> float:
    """Forward and backward: 6 for each weight of a matrix, and causal attention (Chowdhery et al. 2022, B).

    The embedding's look-up is free; tied to the head, it is counted once, as the head.
    """
    attention = 12 * layers * hidden_size * sequence_length / 2
    return 6 * matrix_parameters + attention


def write_text(directory: Path) -> Tokenizer:
    """One document, and a tokenizer learnt from it."""
    text = "".join(read_lines(DATA))
    write_lines(directory / "rows.jsonl", iter([{"text": text}]))
    return train_tokenizer(iter(text.splitlines(keepends=True)), vocab_size=VOCABULARY)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="steps of each side in a round")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    arguments = parser.parse_args()
    length, device = arguments.sequence_length, arguments.device
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        tokenizer = write_text(directory)
        size = write_llama(
            directory, tokenizer, hidden_size=arguments.hidden_size, layers=arguments.layers,
            intermediate_size=arguments.hidden_size * 5 // 2,
        )  # fmt: skip
        print(f"a Llama of {size['parameters']:,} parameters on {device}")
        common = {"learning_rate": 1e-4, "weight_decay": 0.1, "device": device}
        batches = {
            "sequence_length": length, "batch_tokens": arguments.batch_tokens,
            "micro_batch_tokens": arguments.batch_tokens,
        }  # fmt: skip
        ours = Worker("benchmarks.workers.ours", directory, "clm", json.dumps(common | batches))
        peer = Worker("benchmarks.workers.bare", directory, json.dumps(common))
        steps = ours.ask("totals")["tokens"] // arguments.batch_tokens
        first = ours.ask("batches", steps=steps, path=str(directory / "batches.npy"))
        loss = peer.ask("take", path=str(directory / "batches.npy"))["loss"]
        same("loss of the first batch", ours.ask("loss", **first)["loss"], loss, LOSS_TOLERANCE[device])

        def speed(worker: Worker) -> float:
            timed = worker.ask("train", steps=arguments.steps)
            return float(timed["tokens"] / timed["seconds"])

        for worker in (ours, peer):
            worker.ask("train", steps=2)
        figures = interleave({"ours": lambda: speed(ours), "peer": lambda: speed(peer)}, arguments.rounds)
        ours.close()
        peer.close()
    rate = matmul_flops_per_second(device, torch.bfloat16 if device == "cuda" else torch.float32)
    per_token = flops_per_token(size["matrix_parameters"], arguments.layers, arguments.hidden_size, length)
    shares = {side: values.median * per_token / rate for side, values in figures.items()}
    print(f"the machine's matmul rate: {rate / 1e9:,.0f} GFLOP/s; of it, ours {shares['ours']:.2f}, "
          f"the bare loop {shares['peer']:.2f}")  # fmt: skip
    report(
        "pretrain", figures, unit="tokens/s", matmul_fraction=shares["ours"],
        peer_matmul_fraction=shares["peer"], matmul_gflops=rate / 1e9, parameters=size["parameters"],
        device=device,
    )  # fmt: skip


if __name__ == "__main__":
    main()
