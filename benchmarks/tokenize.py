"""Text in, packed training rows out, beside `datasets.map(batched=True, num_proc=2)` with the same tokenizer.

    python -m benchmarks.tokenize [--rounds 3]

25 MB of English and Korean prose, in documents of 4,000 characters, a byte-level BPE of 16,384 tokens
learnt from it. Each round is two new processes with empty caches; what Python has compiled is kept on both
sides. All ids are compared, by their digest.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from benchmarks.environments import peer_environment
from benchmarks.harness import Worker, interleave, report
from benchmarks.material import read_lines, write_lines
from hanji.data.prepare import prepare
from hanji.data.prepared import read_rows
from hanji.data.sources import Source
from hanji.tokenizers.train import train_tokenizer

TEXTS = (
    "pretrain-en/sotu.txt.gz",
    "pretrain-en/tinyshakespeare.txt.gz",
    "pretrain-en/wikitext2-valid.txt.gz",
    "pretrain-ko/python-docs-ko.txt.gz",
    "pretrain-ko/rust-book-ko.txt.gz",
    "pretrain-ko/react-docs-ko.txt.gz",
    "pretrain-ko/libreoffice-help-ko.txt.gz",
)
VOCABULARY = 16_384
DOCUMENT_CHARACTERS = 4000
SEQUENCE_LENGTH = 4096  # longer than any document, so that no side cuts one


def documents(limit: int | None) -> Iterator[dict[str, str]]:
    """The texts in pieces of `DOCUMENT_CHARACTERS`; of each text at most `limit` characters."""
    for name in TEXTS:
        text = "".join(read_lines(name))[:limit]
        for start in range(0, len(text), DOCUMENT_CHARACTERS):
            yield {"text": text[start : start + DOCUMENT_CHARACTERS]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, help="stop after so many million characters of each text")
    arguments = parser.parse_args()
    limit = arguments.megabytes and int(arguments.megabytes * 1e6)
    with tempfile.TemporaryDirectory() as folder:
        data, tokenizer = Path(folder) / "data", Path(folder) / "tokenizer"
        write_lines(Path(folder) / "documents.jsonl", documents(limit))
        statistics = prepare([Source(str(Path(folder) / "documents.jsonl"))], data)
        texts = (row["text"] for row in chain.from_iterable(read_rows(data, "train")))
        train_tokenizer(texts, vocab_size=VOCABULARY).save(tokenizer)
        size = sum(len(row["text"].encode()) for row in chain.from_iterable(read_rows(data, "train")))
        print(f"{size / 1e6:.1f} MB in {statistics['splits']['train']['rows']:,} documents")
        digests: dict[str, str] = {}

        def speed(side: str, module: str, python: Path | None = None) -> float:
            with tempfile.TemporaryDirectory() as output:
                places = (data, tokenizer, output, str(SEQUENCE_LENGTH))
                worker = Worker(module, *places, **({"python": python} if python else {}))
                timed = worker.ask("tokenize")
                digests[side] = worker.ask("digest")["digest"]
                worker.close()
            if len(set(digests.values())) > 1:
                raise SystemExit("not the same work: the ids differ")
            return float(size / 1e6 / timed["seconds"])

        peer = peer_environment("trl") / "python"
        sides = {
            "ours": lambda: speed("ours", "benchmarks.workers.tokenize_ours"),
            "peer": lambda: speed("peer", "benchmarks.workers.tokenize_datasets", peer),
        }
        # pip has compiled the peer when it installed it; ours is compiled here, where it first runs
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for side in sides.values():
            side()
        figures = interleave(sides, arguments.rounds)
    print(f"the same on both sides: all ids (SHA-256 {digests['ours'][:16]})")
    report("tokenize", figures, unit="MB/s", megabytes=size / 1e6, vocabulary=VOCABULARY)


if __name__ == "__main__":
    main()
