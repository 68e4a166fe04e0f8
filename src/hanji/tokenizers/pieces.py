"""Texts to tokens that know which stretch of the text they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanji.tokenizers.fast import FastEncoder
from tokenizers import Tokenizer as Backend


@dataclass(frozen=True, slots=True)
class Pieces:
    """The tokens of one text.

    Attributes:
        ids: [tokens] int32.
        starts: [tokens], where the stretch of text begins, in characters or bytes; it never goes back.
        ends: [tokens], where it ends.
        in_bytes: whether those are bytes.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    in_bytes: bool

    def within(self, text: str, start: int, end: int) -> tuple[int, int] | None:
        """The first token of the stretch from character `start` to `end`, and the one after its last.

        None where a token spans one of its borders.
        """
        if self.in_bytes:
            before = len(text[:start].encode())
            start, end = before, before + len(text[start:end].encode())
        first = int(np.searchsorted(self.ends, start, side="right"))
        after = int(np.searchsorted(self.starts, end, side="left"))
        if first < after and (self.starts[first] < start or self.ends[after - 1] > end):
            return None
        return first, after


class PieceEncoder:
    """Encodes texts with `backend`, or with gigatoken where that agrees and each token is so many bytes."""

    def __init__(self, description: dict[str, Any], backend: Backend, marks: Sequence[str]) -> None:
        self._backend = backend
        self._fast = FastEncoder.of(description, backend, marks)
        self._sizes = self._fast.token_bytes() if self._fast is not None else None

    def encode(self, texts: Sequence[str]) -> list[Pieces]:
        """The tokens of each text."""
        if self._fast is None or self._sizes is None:
            return self._encode_slowly(texts)
        ids, lengths = self._fast.encode(list(texts))
        sizes = self._sizes[ids]
        cuts = np.cumsum(lengths)[:-1]
        pieces = [
            Pieces(row, ends - row_sizes, ends, in_bytes=True)
            for row, row_sizes in zip(np.split(ids, cuts), np.split(sizes, cuts), strict=True)
            for ends in (np.cumsum(row_sizes),)
        ]
        uncounted = [
            index
            for index, (text, piece) in enumerate(zip(texts, pieces, strict=True))
            if len(text.encode()) != (piece.ends[-1] if len(piece.ends) else 0)
        ]
        for index, piece in zip(uncounted, self._encode_slowly([texts[i] for i in uncounted]), strict=True):
            pieces[index] = piece
        return pieces

    def _encode_slowly(self, texts: Sequence[str]) -> list[Pieces]:
        pieces = []
        for encoding in self._backend.encode_batch(list(texts), add_special_tokens=False):
            flat = np.fromiter(chain.from_iterable(encoding.offsets), np.int64, count=2 * len(encoding))
            ids = np.array(encoding.ids, dtype=np.int32)
            pieces.append(Pieces(ids, flat[0::2], flat[1::2], in_bytes=False))
        return pieces
