"""Pairs of answers, of which people chose one: how they become tokens, for every objective that learns so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hanji.contracts.batch import Batch
from hanji.contracts.protocols import EncodedChat, Encoder, Policy, Task
from hanji.contracts.rows import TokenRows
from hanji.objectives.framing import frame_texts

CHOSEN, REJECTED = 0, 1
"""Places of the two documents of a row."""


class AnswerPairs:
    """Rows of a prompt with a chosen and a rejected answer: two documents each, `chosen` first.

    `trained` marks the answers' tokens, and the ends of their turns. The first target is the margin by which
    the chosen one is better, 0 where nobody said.
    """

    rows = "preference"
    overlong: tuple[str, ...] = ("drop", "error")
    closing: int | None = None
    """Special tokens after an answer that is a second text; None where chats are written by a template."""

    def bind(self, task: Task) -> None:
        """Needs nothing; asks whether answers are second texts, of which an encoder is told."""
        encoder = task.encoder
        of_texts = encoder.chat_template is None and encoder.frame.has_segments
        self.closing = len(encoder.frame.after) if of_texts else None

    def encode(self, rows: Sequence[Mapping[str, Any]], encoder: Encoder) -> TokenRows:
        """Both chats by the template; without one, the prompt and the answer as two texts, as encoders read.

        `sequence_length` bounds a row: both documents together.
        """
        if encoder.chat_template is None:
            documents = _as_two_texts(rows, encoder)
        else:
            answers = [row[name] for row in rows for name in ("chosen", "rejected")]
            chats = encoder.encode_chats(
                [
                    ([*row["messages"], *row[name]], row.get("tools"))
                    for row in rows
                    for name in ("chosen", "rejected")
                ]
            )
            documents = [
                (chat.ids, _last_turns(chat, answer)) for chat, answer in zip(chats, answers, strict=True)
            ]
        sizes = np.array([len(ids) for ids, _ in documents], np.int64).reshape(-1, 2)
        margins = [[float(row.get("margin") or 0.0)] for row in rows]
        return TokenRows(
            np.concatenate([ids for ids, _ in documents]),
            sizes.sum(1),
            np.concatenate([trained for _, trained in documents]),
            np.zeros(len(rows), np.int64),
            sizes[:, CHOSEN].copy(),
            np.array(margins),
        )

    def collate(self, rows: TokenRows) -> Batch:
        """Two documents a row, with next-token labels in the answers; as two texts, with their segments."""
        assert rows.borders is not None and rows.targets is not None
        lengths = np.stack([rows.borders, rows.lengths - rows.borders], 1).ravel()
        documents = TokenRows(rows.ids, lengths, rows.trained, np.zeros(len(lengths), np.int64))
        targets = torch.from_numpy(rows.targets.astype(np.float32))
        second = None if self.closing is None else _second_texts(documents, self.closing)
        return replace(Batch.causal(documents), segments=second, targets=targets, documents_per_row=2)

    def counts(self, batch: Batch) -> dict[str, float]:
        """The unit is the pair."""
        return {"pairs": float(batch.rows)}

    def prepare(self, policy: Policy, batch: Batch) -> Iterable[Batch]:
        """The batch as it is."""
        return (batch,)


def _last_turns(chat: EncodedChat, answer: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    """Of a chat's trained tokens, those of the answer: its last turns, as many as the answer has."""
    turns = sum(message["role"] == "assistant" for message in answer)
    begins = np.flatnonzero(chat.trained & ~np.concatenate([[False], chat.trained[:-1]]))
    only = chat.trained.copy()
    only[: begins[-turns] if len(begins) >= turns else 0] = False
    return only


def _second_texts(documents: TokenRows, closing: int) -> torch.Tensor:
    """[tokens] 1 from the first token of the answer on, or where it is empty from the `closing` ones."""
    ends = np.repeat(documents.offsets[1:], documents.lengths)
    starts = np.repeat(documents.offsets[:-1], documents.lengths)
    so_far = np.concatenate([[0], np.cumsum(documents.trained)])
    begun = so_far[1:] > so_far[starts]
    return torch.from_numpy((begun | (np.arange(len(ends)) >= ends - closing)).astype(np.int64))


def _as_two_texts(
    rows: Sequence[Mapping[str, Any]], encoder: Encoder
) -> list[tuple[NDArray[np.int32], NDArray[np.bool_]]]:
    def said(messages: Sequence[Mapping[str, Any]]) -> str:
        return "\n".join(message["content"] for message in messages)

    prompts = [said(row["messages"]) for row in rows for _ in range(2)]
    answers = [said(row[name]) for row in rows for name in ("chosen", "rejected")]
    framed = frame_texts(encoder, prompts, answers)
    cuts = framed.offsets[1:-1]
    assert framed.borders is not None
    within = np.arange(len(framed.ids)) - np.repeat(framed.offsets[:-1], framed.lengths)
    of_answer = framed.trained & (within >= np.repeat(framed.borders, framed.lengths))
    return list(zip(np.split(framed.ids, cuts), np.split(of_answer, cuts), strict=True))
