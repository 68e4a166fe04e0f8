"""Pairs of texts cut from documents, for tasks that ask how the second stands to the first."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.batch import Batch
from hanji.contracts.errors import ConfigError, DataError
from hanji.contracts.loss import Loss, Term
from hanji.contracts.protocols import Encoder, Head, Policy
from hanji.contracts.rows import TokenRows
from hanji.objectives.framing import Spans, frame_ids
from hanji.objectives.masking import Unit
from hanji.objectives.mlm import MaskedLanguageModelling, pieces_of
from hanji.objectives.relation import UNKNOWN, relation_loss
from hanji.objectives.sentences import split_sentences

Span = tuple[int, int]


class MaskingWithTextPairs(MaskedLanguageModelling):
    """Hidden tokens, and besides whether two texts stand as they stood; two losses added, both reported.

    Documents are cut into sentences, and runs of sentences fill rows towards the sequence length, some to a
    random shorter one, as in BERT's own data (Devlin et al. 2019). Half of the pairs are left as they
    stood (label 0), half are made otherwise (label 1; `counterfeit`). A run of a single sentence has nothing
    that could follow: it stands alone, and only its hidden tokens are learned; one longer than a row is taken
    in pieces. The end of a sentence that a row has no room for is left out.

    Args:
        short_share: share of rows that are filled to a random length only.
        mask_rate, mask_units, mask_share, random_share: as those of `mlm`.
    """

    head: Head = "pretraining"
    overlong: tuple[str, ...] = ("drop",)  # none is: rows are cut to fit
    counterfeit: str
    """How pairs are made otherwise: `another document`, or `swapped`."""
    relation: str
    """What the second task is called in metrics."""

    def __init__(
        self,
        mask_rate: float = 0.15,
        mask_units: Unit = "tokens",
        mask_share: float = 0.8,
        random_share: float = 0.1,
        short_share: float = 0.1,
    ) -> None:
        super().__init__(mask_rate, mask_units, mask_share, random_share)
        if not 0 <= short_share < 1:
            raise ConfigError("short_share is no share", value=short_share, expected="from 0 to below 1")
        self.short_share = short_share
        self._documents_seen = 0

    def encode(self, rows: Sequence[Mapping[str, Any]], encoder: Encoder) -> TokenRows:
        """Pairs of texts from the documents, several of each; their labels are the targets.

        Raises:
            DataError: a single document, where another is wanted.
        """
        if self.counterfeit == "another document" and len(rows) + self._documents_seen < 2:
            raise DataError(
                f"{self.name} takes half of the second texts from other documents, and there is only one",
                value="1 row",
                expected="2 rows of text at least",
                hint="prepare the text as several documents (documents: passage), or take mlm or mlm+sop",
            )
        self._documents_seen += len(rows)
        documents = [split_sentences(row["text"]) for row in rows]
        ids, lengths = encoder.encode_texts([sentence for document in documents for sentence in document])
        pieces, sizes = pieces_of(lengths, self.room)
        ends = np.concatenate([[0], np.cumsum(pieces)])[np.cumsum([0, *map(len, documents)])]
        borders = np.concatenate([[0], np.cumsum(sizes)])
        random = np.random.default_rng(zlib.crc32("\0".join(row["text"][:64] for row in rows).encode()))
        cutter = _Cutter(ends, borders, self.room, self.short_share, self.counterfeit, random)
        return self.only_ordinary(_framed(encoder, ids, list(cutter.pairs())))

    def counts(self, batch: Batch) -> dict[str, float]:
        """Hidden tokens, and pairs."""
        assert batch.targets is not None
        return super().counts(batch) | {"pairs": float((batch.targets != UNKNOWN).sum())}

    def loss(self, policy: Policy, batch: Batch) -> Loss:
        """Both terms, and beside them each one's loss and accuracy."""
        assert batch.targets is not None
        found = policy.negative_log_likelihood(batch)
        relation, correct = relation_loss(found["relation"], batch.targets[:, 0].long())
        return Loss(
            {"nll": Term(found["nll"], "tokens"), self.relation: Term(relation, "pairs")},
            {
                "masked_loss": (float(found["nll"].detach()), "tokens"),
                "accuracy": (float(found["correct"]), "tokens"),
                f"{self.relation}_loss": (float(relation.detach()), "pairs"),
                f"{self.relation}_accuracy": (float(correct), "pairs"),
            },
        )


class _Cutter:
    """Walks through documents and cuts pairs of token spans.

    Args:
        documents: [documents + 1] the first sentence of each, and the end.
        borders: [sentences + 1] the first token of each, and the end; none is empty, or longer than the room.
        room: tokens of a pair.
    """

    def __init__(
        self,
        documents: NDArray[np.int64],
        borders: NDArray[np.int64],
        room: int,
        short_share: float,
        counterfeit: str,
        random: np.random.Generator,
    ) -> None:
        self._documents, self._borders = documents.tolist(), borders.tolist()
        self._room, self._short_share, self._counterfeit = room, short_share, counterfeit
        self._random = random

    def pairs(self) -> Iterator[tuple[Span, Span | None, int]]:
        """The first text, the second where there is one, and the label."""
        for document, (start, end) in enumerate(zip(self._documents, self._documents[1:], strict=False)):
            while start < end:
                pair, start = self._next(document, start, end)
                yield pair

    def _next(self, document: int, start: int, end: int) -> tuple[tuple[Span, Span | None, int], int]:
        """The pair that begins with sentence `start`, and the sentence after those it used up."""
        room = self._room
        target = (
            int(self._random.integers(2, room + 1)) if self._random.random() < self._short_share else room
        )
        stop = start + 1
        while stop < end and self._tokens(start, stop) < target:
            stop += 1
        if stop - start == 1:
            return (self._span(start, stop), None, UNKNOWN), stop
        cut = start + 1 + int(self._random.integers(stop - start - 1))
        first, second = self._span(start, cut), self._span(cut, stop)
        if self._random.random() < 0.5:
            return self._fitted(first, second, 0), stop
        if self._counterfeit == "swapped":
            return self._fitted(second, first, 1), stop
        other = self._elsewhere(document, target - (first[1] - first[0]))
        if other is None:
            return (first, None, UNKNOWN), cut
        return self._fitted(first, other, 1), cut  # what was not used begins the next pair

    def _elsewhere(self, document: int, tokens: int) -> Span | None:
        """Sentences of another document, from a random one on, with about `tokens` tokens."""
        others = len(self._documents) - 2
        for _ in range(10):
            if others < 1:
                return None
            other = int(self._random.integers(others))
            other += other >= document
            first, last = self._documents[other], self._documents[other + 1]
            if first == last:
                continue
            start = stop = first + int(self._random.integers(last - first))
            while stop < last and (stop == start or self._tokens(start, stop) < tokens):
                stop += 1
            return self._span(start, stop)
        return None

    def _tokens(self, start: int, stop: int) -> int:
        return int(self._borders[stop] - self._borders[start])

    def _span(self, start: int, stop: int) -> Span:
        return self._borders[start], self._borders[stop]

    def _fitted(self, first: Span, second: Span, label: int) -> tuple[Span, Span, int]:
        """Both cut to the room: the longer one gives way, and the border between them stays."""
        sizes = [first[1] - first[0], second[1] - second[0]]
        over = sum(sizes) - self._room
        if over > 0:
            longer = int(sizes[1] > sizes[0])
            level = min(over, abs(sizes[0] - sizes[1]))
            sizes[longer] -= level
            sizes[0] -= (over - level + 1) // 2
            sizes[1] -= (over - level) // 2
        return (first[1] - sizes[0], first[1]), (second[0], second[0] + sizes[1]), label


def _framed(
    encoder: Encoder, ids: NDArray[np.int32], pairs: list[tuple[Span, Span | None, int]]
) -> TokenRows:
    paired = np.array([second is not None for _, second, _ in pairs], np.bool_)
    firsts = _gather(ids, [first for first, _, _ in pairs])
    seconds = _gather(ids, [second or (0, 0) for _, second, _ in pairs])
    labels = np.array([[float(label)] for _, _, label in pairs]).reshape(len(pairs), 1)
    return replace(frame_ids(encoder, firsts, seconds, paired), targets=labels)


def _gather(ids: NDArray[np.int32], spans: list[Span]) -> Spans:
    parts = [ids[start:stop] for start, stop in spans]
    lengths = np.array([len(part) for part in parts], np.int64)
    return np.concatenate([np.zeros(0, np.int32), *parts]), lengths
