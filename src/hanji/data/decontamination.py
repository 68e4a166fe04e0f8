"""Held-out rows that are near-copies of training rows, found by the share of word n-grams in common.

The field's usual rule (GPT-3, appendix C, with 13-grams; Llama 2, appendix A.6, by share of a sample): here
8-grams of lower-case words, where an ideograph or a kana counts as a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.progress import Progress
from hanji.data.counts import Counts
from hanji.data.kinds.row import said, size_of
from hanji.data.shards import ShardWriter, from_stored, read_shards, shard_paths

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_FILTER_BITS = 24
_BATCH_ROWS = 1024

NGRAM_WORDS = 8
NEAR_COPY_SHARE = 0.5
"""A held-out row is a near-copy where this share of its grams stands in training rows."""


def drop_near_copies(directory: Path, split: str, kind: str, counts: Counts, progress: Progress) -> None:
    """Writes a held-out split anew without the near-copies of training rows, and counts them."""
    held_out = shard_paths(directory, split)
    finder = Decontaminator(map(_texts, read_shards(held_out, _BATCH_ROWS)), NGRAM_WORDS)
    finder.mark(map(_texts, read_shards(shard_paths(directory, "train"), _BATCH_ROWS)))
    dropped = finder.shares() >= NEAR_COPY_SHARE
    if not dropped.any():
        return
    progress.note(
        f"{int(dropped.sum())} of {len(dropped)} rows of {split} were near-copies of training rows."
    )
    counts.splits.pop(split)
    renewed = directory / "renewed"
    renewed.mkdir()
    writer = ShardWriter(renewed, split, kind)
    rows = chain.from_iterable(read_shards(held_out, _BATCH_ROWS))
    for row, drop in zip(rows, dropped, strict=True):
        characters, size = size_of(said(from_stored(row)))
        counts.unwrote(row["source"], split, characters, size)
        if drop:
            counts.sources[row["source"]].contaminated += 1
        else:
            writer.write(row, size)
            counts.wrote(row["source"], split, characters, size)
    writer.close()
    for path in held_out:
        path.unlink()
    for path in shard_paths(renewed, split):
        path.rename(directory / path.name)
    renewed.rmdir()


def _texts(rows: list[dict[str, Any]]) -> list[str]:
    return ["\n".join(said(from_stored(row))) for row in rows]


def ngram_hashes(texts: Iterable[str], n: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the word n-grams of each text; a text of fewer words is one gram of all its words.

    Returns:
        hashes: [grams] uint64, comparable within this process; counts: [texts] int64, grams of each text.
    """
    words = [_WORDS.findall(text.lower()) for text in texts]
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    total = int(lengths.sum())
    hashed = np.fromiter(map(hash, chain.from_iterable(words)), np.int64, total).view(np.uint64)
    short = np.flatnonzero((lengths > 0) & (lengths < n))
    counts = np.where(lengths >= n, lengths - n + 1, (lengths > 0).astype(np.int64))
    grams = np.zeros(total, np.uint64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])[:-1]
    if total >= n:
        for offset in range(n):  # a polynomial in the words' hashes, modulo 2^64
            grams[: total - n + 1] = (
                grams[: total - n + 1] * _FACTOR + hashed[offset : total - n + 1 + offset]
            )
    for row in short:
        span = hashed[starts[row] : starts[row] + lengths[row]]
        grams[starts[row]] = np.uint64(hash((b"short", span.tobytes())) & (2**64 - 1))
    first = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return grams[np.arange(int(counts.sum())) + first], counts


class Decontaminator:
    """Finds the held-out texts that share grams with training texts.

    Memory goes with the held-out text alone: its grams are held, the training text streams past them.

    Args:
        held_out: batches of held-out texts.
        n: words in a gram.
    """

    def __init__(self, held_out: Iterable[list[str]], n: int = 8) -> None:
        self._n = n
        parts = [ngram_hashes(batch, n) for batch in held_out]
        hashes = np.concatenate([part[0] for part in parts] or [np.zeros(0, np.uint64)])
        self._counts = np.concatenate([part[1] for part in parts] or [np.zeros(0, np.int64)])
        self._grams, self._places = np.unique(hashes, return_inverse=True)
        self._seen = np.zeros(len(self._grams), np.bool_)
        self._filter = np.zeros(1 << _FILTER_BITS, np.bool_)
        self._filter[self._grams >> np.uint64(64 - _FILTER_BITS)] = True

    def mark(self, training: Iterator[list[str]]) -> None:
        """Takes note of the grams of training texts."""
        for batch in training:
            grams, _ = ngram_hashes(batch, self._n)
            grams = grams[self._filter[grams >> np.uint64(64 - _FILTER_BITS)]]
            if len(grams) and len(self._grams):
                at = np.minimum(np.searchsorted(self._grams, grams), len(self._grams) - 1)
                self._seen[at[self._grams[at] == grams]] = True

    def shares(self) -> NDArray[np.float64]:
        """[held-out texts] the share of each text's grams that training texts have too; 0 without words."""
        rows = np.repeat(np.arange(len(self._counts)), self._counts)
        found = np.bincount(rows, weights=self._seen[self._places], minlength=len(self._counts))
        return np.asarray(found / np.maximum(self._counts, 1), np.float64)
