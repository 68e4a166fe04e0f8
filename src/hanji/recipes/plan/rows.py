"""What a stage will learn from, counted where tokens exist and said to be assumed where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.protocols import Encoder, Objective
from hanji.data.packing import best_fit
from hanji.data.prepared import read_rows, splits, statistics
from hanji.data.token_store import TokenStore

_SAMPLED_ROWS = 256
_BYTES_PER_TOKEN = 4.0
"""Of text under a tokenizer that does not exist yet; English BPE has 3 to 5."""


@dataclass(frozen=True, slots=True)
class LearningRows:
    """Rows as a plan sees them.

    Attributes:
        tokens: of an epoch, or None where nobody can know yet.
        bins: packed rows of an epoch, or None.
        typical: mean length of the document that a token is in: what attention pays for.
        longest: tokens of the longest row.
        trained_share: share of the tokens that are trained on.
        held_out_tokens: of one evaluation.
        assumed: sentences, one for each thing that was not known.
    """

    tokens: float | None
    bins: float | None
    typical: int
    longest: int
    trained_share: float
    held_out_tokens: float = 0.0
    assumed: tuple[str, ...] = ()

    @classmethod
    def of_stores(
        cls,
        training: Sequence[TokenStore],
        held_out: Sequence[TokenStore],
        *,
        tokens_per_epoch: float,
        bins_per_epoch: float,
    ) -> LearningRows:
        """Exactly, from tokens on disk (`TrainingStream` knows how they mix and pack)."""
        lengths = np.concatenate([store.lengths for store in training])
        trained = sum(int(store.statistics["trained_tokens"]) for store in training)
        return cls(
            tokens_per_epoch, bins_per_epoch, _typical(lengths), int(lengths.max()),
            trained / int(lengths.sum()), float(sum(int(store.lengths.sum()) for store in held_out)),
        )  # fmt: skip

    @classmethod
    def sampled(
        cls, directory: Path, name: str, encoder: Encoder, objective: Objective, sequence_length: int
    ) -> LearningRows:
        """From prepared data and a tokenizer: some rows are tokenised, the rest are taken to be alike.

        Args:
            objective: bound to its surroundings.
        """
        counts = splits(directory)
        sample = _first_rows(directory)
        rows = objective.encode(sample, encoder)
        batch = objective.collate(rows)
        lengths = _pieces(rows.lengths, sequence_length)
        documents = _pieces(np.array(batch.lengths, np.int64), sequence_length)
        mean = len(rows.ids) / len(sample)
        tokens = mean * counts.get("train", 0)
        tokens_per_bin = float(lengths.sum()) / len(best_fit(lengths, sequence_length))
        return cls(
            tokens, tokens / tokens_per_bin, _typical(documents), int(lengths.max()),
            max(batch.trained_tokens / batch.tokens, 1e-3), mean * counts.get("validation", 0),
            (f"{name}: rows are like the first {len(sample)} ({mean:,.0f} tokens in the mean)",),
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, directory: Path, name: str, sequence_length: int) -> LearningRows:
        """From prepared data whose tokenizer does not exist yet."""
        found = statistics(directory)["splits"]
        rows = {split: int(counts["rows"]) for split, counts in found.items()}
        mean = float(found["train"]["bytes"]["mean"]) / _BYTES_PER_TOKEN
        tokens = mean * rows["train"]
        typical = max(2, min(round(mean), sequence_length))
        return cls(
            tokens, tokens / sequence_length, typical, sequence_length, 1.0,
            mean * rows.get("validation", 0),
            (f"{name}: a token stands for {_BYTES_PER_TOKEN:.0f} bytes; there is no tokenizer yet",),
        )  # fmt: skip

    @classmethod
    def unknown(cls, name: str, sequence_length: int) -> LearningRows:
        """Of data that is not prepared: full sequences, every token trained, no evaluation."""
        said = (
            f"{name} is not prepared yet: rows are taken to have {sequence_length:,} tokens, all trained; "
            "evaluation is not counted",
        )
        return cls(None, None, sequence_length, sequence_length, 1.0, 0.0, said)


def mixed(parts: Sequence[LearningRows], weights: Sequence[float] | None) -> LearningRows:
    """A mixture, as `TrainingStream` draws it: an epoch ends with the first part's."""
    if len(parts) == 1:
        return parts[0]
    assumed = tuple(sentence for part in parts for sentence in part.assumed)
    longest = max(part.longest for part in parts)
    held_out = sum(part.held_out_tokens for part in parts)
    known = [part.tokens for part in parts if part.tokens]
    if len(known) < len(parts):
        typical = max(part.typical for part in parts)
        return LearningRows(None, None, typical, longest, 1.0, held_out, assumed)
    shares = np.array(weights or known, float)
    shares /= shares.sum()
    tokens = known[0] / float(shares[0])
    fullness = sum(
        float(share) * (part.bins or 0.0) / (part.tokens or 1.0)
        for share, part in zip(shares, parts, strict=True)
    )
    return replace(
        parts[0], tokens=tokens, bins=tokens * fullness,
        typical=round(float(shares @ [part.typical for part in parts])), longest=longest,
        trained_share=float(shares @ [part.trained_share for part in parts]),
        held_out_tokens=held_out, assumed=assumed,
    )  # fmt: skip


def _first_rows(directory: Path) -> list[dict[str, Any]]:
    return next(read_rows(directory, "train", batch_rows=_SAMPLED_ROWS))


def _pieces(lengths: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
    """Lengths of the pieces that longer rows are split into."""
    whole, rest = np.divmod(lengths, longest)
    return np.concatenate([np.full(int(whole.sum()), longest, np.int64), rest[rest >= 2]])


def _typical(lengths: NDArray[np.int64]) -> int:
    return max(2, round(float((lengths.astype(np.float64) ** 2).sum() / lengths.sum())))
