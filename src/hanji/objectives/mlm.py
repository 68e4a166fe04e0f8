"""Masked language modelling: some tokens are hidden, and told from what stands on both sides of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hanji.contracts.batch import IGNORED, Batch
from hanji.contracts.errors import ConfigError
from hanji.contracts.protocols import Encoder, Head, Task
from hanji.contracts.random_keys import mix
from hanji.contracts.rows import TokenRows
from hanji.objectives.framing import frame_ids, segments
from hanji.objectives.likelihood import Likelihood
from hanji.objectives.masking import Unit, choose, replaced


class MaskedLanguageModelling(Likelihood):
    """Mean −log p(hidden token) over the hidden tokens (Devlin et al. 2019); rows are plain texts.

    Which tokens are hidden is drawn anew in every epoch, as RoBERTa does (Liu et al. 2019), from the row's
    key: a resumed run hides the same ones. Special tokens are never hidden, nor is what stands for an unknown
    word.

    Args:
        mask_rate: share of the tokens that are hidden.
        mask_units: hide single `tokens`, whole `words`, or `spans` of words (SpanBERT).
        mask_share: of the hidden tokens, those that show the mask. random_share: those that show a random
            token. The rest show themselves.

    Raises:
        ConfigError: rates that are no shares.
    """

    name = "mlm"
    rows = "text"
    head: Head = "masked"
    overlong: tuple[str, ...] = ("split",)

    def __init__(
        self,
        mask_rate: float = 0.15,
        mask_units: Unit = "tokens",
        mask_share: float = 0.8,
        random_share: float = 0.1,
    ) -> None:
        if not 0 < mask_rate < 1:
            raise ConfigError("mask_rate is no share", value=mask_rate, expected="between 0 and 1")
        if mask_units not in ("tokens", "words", "spans"):
            raise ConfigError("unknown mask_units", value=mask_units, expected="tokens, words, spans")
        if min(mask_share, random_share) < 0 or mask_share + random_share > 1:
            raise ConfigError(
                "mask_share and random_share are no shares of the hidden tokens",
                value=(mask_share, random_share),
                expected="two numbers from 0 that add up to 1 at most",
            )
        self.mask_rate, self.mask_units = mask_rate, mask_units
        self.shares = (mask_share, random_share)

    def bind(self, task: Task) -> None:
        """Needs a mask token, and room for text between the special tokens."""
        encoder = task.encoder
        if encoder.mask_id is None:
            raise ConfigError(
                f"{self.name} needs a tokenizer with a mask token",
                where="tokenizer",
                hint="train one with algorithm: wordpiece, or with special_tokens: ['[MASK]']",
            )
        frame = encoder.frame
        self.room = task.sequence_length - len(frame.before) - len(frame.between) - len(frame.after)
        if self.room < 2:
            raise ConfigError(
                "rows have no room for text between their special tokens",
                where="train.sequence_length",
                value=task.sequence_length,
                expected=f"at least {task.sequence_length - self.room + 2}",
            )
        self.mask_id, self.has_segments = encoder.mask_id, frame.has_segments
        self.begins_word = ~encoder.continues_word
        self.is_special = np.isin(np.arange(encoder.vocabulary_size), list(encoder.special_ids))
        self.ordinary = np.flatnonzero(~self.is_special).astype(np.int32)

    def encode(self, rows: Sequence[Mapping[str, Any]], encoder: Encoder) -> TokenRows:
        """Each text in pieces that fill the sequence, each piece between the tokenizer's special tokens."""
        ids, lengths = encoder.encode_texts([row["text"] for row in rows])
        _, cut = pieces_of(lengths, self.room + len(encoder.frame.between))
        nothing = (np.zeros(0, np.int32), np.zeros(len(cut), np.int64))
        framed = frame_ids(encoder, (ids, cut), nothing, np.zeros(len(cut), np.bool_))
        return self.only_ordinary(replace(framed, borders=None))

    def only_ordinary(self, framed: TokenRows) -> TokenRows:
        """The rows, in whose texts the token of unknown words is not learned."""
        return replace(framed, trained=framed.trained & ~self.is_special[framed.ids])

    def collate(self, rows: TokenRows) -> Batch:
        """Hides tokens; the labels are what they were."""
        keys = mix(np.arange(len(rows))) if rows.keys is None else rows.keys
        hidden = choose(
            keys, rows.lengths, rows.trained, self.begins_word[rows.ids],
            rate=self.mask_rate, unit=self.mask_units,
        )  # fmt: skip
        shown = replaced(
            rows.ids, hidden, keys, rows.lengths,
            mask_id=self.mask_id, ordinary=self.ordinary, shares=self.shares,
        )  # fmt: skip
        return Batch(
            torch.from_numpy(shown.astype(np.int64)),
            torch.from_numpy(np.where(hidden, rows.ids, IGNORED).astype(np.int64)),
            tuple(rows.lengths.tolist()),
            torch.from_numpy(segments(rows)) if rows.borders is not None and self.has_segments else None,
            None if rows.targets is None else torch.from_numpy(rows.targets.astype(np.float32)),
        )


def pieces_of(lengths: NDArray[np.int64], room: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Texts in pieces of at most `room` tokens: how many each, [texts], and the tokens of each, [pieces]."""
    pieces = -(-lengths // room)
    nth = np.arange(int(pieces.sum())) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return pieces, np.minimum(room, np.repeat(lengths, pieces) - nth * room)
