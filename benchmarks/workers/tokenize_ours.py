"""Our side of benchmarks.tokenize: prepared text to a token store, packed, in this process once.

Arguments: the prepared data, the tokenizer's directory, an empty folder to write to, the sequence length.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.workers.protocol import Answer, serve
from hanji.data.prepared import read_rows
from hanji.data.stream import TrainingStream
from hanji.data.token_store import TokenStore, build_token_store
from hanji.objectives import OBJECTIVES
from hanji.tokenizers.tokenizer import Tokenizer

DATA, TOKENIZER, OUTPUT = map(Path, sys.argv[1:4])
SEQUENCE_LENGTH = int(sys.argv[4])


def tokenize() -> Answer:
    """Everything from the prepared text to the first batch of packed rows."""
    began = time.perf_counter()
    tokenizer, objective = Tokenizer.load(TOKENIZER), OBJECTIVES.load("clm")()
    store = build_token_store(
        read_rows(DATA, "train"), lambda rows: objective.encode(rows, tokenizer), OUTPUT / "tokens",
        sequence_length=SEQUENCE_LENGTH, overlong="error",
    )  # fmt: skip
    TrainingStream(
        [store], sequence_length=SEQUENCE_LENGTH, batch_tokens=8 * SEQUENCE_LENGTH, seed=0
    ).next_rows()
    return {"seconds": time.perf_counter() - began, "tokens": store.statistics["tokens"]}


def digest() -> Answer:
    """SHA-256 of all ids, document after document."""
    store = TokenStore.open(OUTPUT / "tokens")
    ids = store.take(np.arange(len(store))).ids
    return {"digest": hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()}


if __name__ == "__main__":
    serve({"tokenize": tokenize, "digest": digest})
