"""The peer of benchmarks.tokenize: `datasets.map` in two processes, once to tokenise and once to pack.

Arguments: the prepared data, the tokenizer's directory, an empty folder to write to, the sequence length.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset
from transformers import AutoTokenizer

from benchmarks.workers.protocol import Answer, serve

DATA, TOKENIZER, OUTPUT = sys.argv[1:4]
SEQUENCE_LENGTH = int(sys.argv[4])
made: list[Dataset] = []


def tokenize() -> Answer:
    """Everything from the same Parquet files to packed rows in Arrow files."""
    began = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    begin, end = [tokenizer.bos_token_id], [tokenizer.eos_token_id]

    def encode(rows: dict[str, list[str]]) -> dict[str, Any]:
        ids = tokenizer(rows["text"], add_special_tokens=False).input_ids
        return {"input_ids": [begin + row + end for row in ids]}

    def pack(rows: dict[str, list[list[int]]]) -> dict[str, Any]:
        ids = [token for row in rows["input_ids"] for token in row]
        return {"input_ids": [ids[at : at + SEQUENCE_LENGTH] for at in range(0, len(ids), SEQUENCE_LENGTH)]}

    files = [str(path) for path in sorted(Path(DATA).glob("train-*.parquet"))]
    data = load_dataset("parquet", data_files=files, split="train", cache_dir=OUTPUT)
    encoded = data.map(encode, batched=True, num_proc=2, remove_columns=data.column_names)
    made.append(encoded.map(pack, batched=True, num_proc=2))
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "tokens": sum(map(len, made[-1]["input_ids"]))}


def digest() -> Answer:
    """SHA-256 of all ids, document after document."""
    ids = np.concatenate([np.array(row, "<i4") for row in made[-1]["input_ids"]])
    return {"digest": hashlib.sha256(ids.tobytes()).hexdigest()}


if __name__ == "__main__":
    serve({"tokenize": tokenize, "digest": digest})
