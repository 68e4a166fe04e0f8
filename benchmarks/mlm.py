"""Masked pre-training beside transformers' Trainer with dynamic padding: real tokens a second.

    python -m benchmarks.mlm [--rounds 3] [--steps 12] [--device cuda]

Rows are Korean film reviews (NSMC), most of them shorter than 40 tokens; the tokenizer is a WordPiece of
16,384 tokens learnt from them, the model a BERT of hidden size 256 and 6 layers. The peer has batches of
32 rows and its own collator. The loss on one batch that the peer has hidden is compared before anything is
timed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path

from benchmarks.environments import peer_environment
from benchmarks.harness import Worker, interleave, report, same
from benchmarks.material import read_lines, write_lines
from hanji.models.load import blank_model, save_model
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer

DATA = "pretrain-ko/nsmc-reviews-200k.txt.gz"
ROWS = 20_000
VOCABULARY = 16_384
BATCH_ROWS = 32
SEQUENCE_LENGTH = 256


def write_bert(directory: Path, texts: list[str], hidden_size: int, layers: int) -> int:
    """A blank BERT and its tokenizer as a directory; returns its parameters."""
    tokenizer = train_tokenizer(iter(texts), algorithm="wordpiece", vocab_size=VOCABULARY)
    architecture = {
        "model_type": "bert", "hidden_size": hidden_size, "num_hidden_layers": layers,
        "num_attention_heads": hidden_size // 64, "intermediate_size": 4 * hidden_size,
        "max_position_embeddings": 512, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    model = blank_model(architecture, tokenizer, head="masked", seed=0)
    save_model(model, directory, generation={})
    tokenizer.save(directory)
    return sum(parameter.numel() for parameter in model.parameters())


def _with_something_to_hide(texts: list[str], tokenizer: Tokenizer) -> list[str]:
    """Without those of which the tokenizer knows no word."""
    return [text for text in texts if not tokenizer.special_ids.issuperset(tokenizer.encode_texts([text])[0])]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="the peer's steps in a round")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    arguments = parser.parse_args()
    texts = [line.strip() for line in islice(read_lines(DATA), ROWS) if line.strip()]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        parameters = write_bert(directory, texts, arguments.hidden_size, arguments.layers)
        texts = _with_something_to_hide(texts, Tokenizer.load(directory))
        write_lines(directory / "rows.jsonl", ({"text": text} for text in texts))
        print(f"a BERT of {parameters:,} parameters on {arguments.device}, {BATCH_ROWS} rows a step")
        python = peer_environment("trl") / "python"
        peer = Worker(
            "benchmarks.workers.mlm_trainer", directory, str(BATCH_ROWS), arguments.device, python=python
        )
        total, first = peer.ask("totals"), peer.ask("first_batch")
        mean_row = total["tokens"] / len(texts)
        batch = max(1, round(BATCH_ROWS * mean_row / SEQUENCE_LENGTH)) * SEQUENCE_LENGTH
        settings = {
            "sequence_length": SEQUENCE_LENGTH, "batch_tokens": batch, "micro_batch_tokens": 8192,
            "learning_rate": 1e-4, "weight_decay": 0.0, "device": arguments.device,
        }  # fmt: skip
        ours = Worker("benchmarks.workers.ours", directory, "mlm", json.dumps(settings))
        same("tokens of the whole data", ours.ask("totals")["tokens"], total["tokens"])
        loss = first.pop("loss")
        same("loss of the first batch", ours.ask("hidden_loss", **first)["loss"], loss, 1e-5)
        print(f"the mean row has {mean_row:.1f} tokens; ours takes {batch:,} tokens a step")

        def speed(worker: Worker, steps: int) -> float:
            timed = worker.ask("train", steps=steps)
            return float(timed["tokens"] / timed["seconds"])

        ours.ask("train", steps=2)
        figures = interleave(
            {
                "ours": lambda: speed(ours, 2 * arguments.steps),
                "peer": lambda: speed(peer, arguments.steps),
            },
            arguments.rounds,
        )
        ours.close()
        peer.close()
    report("mlm", figures, unit="real tokens/s", parameters=parameters, device=arguments.device)


if __name__ == "__main__":
    main()
