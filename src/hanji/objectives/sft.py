"""Supervised fine-tuning on chats: learn what the assistant says, given what was said before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hanji.contracts.protocols import Encoder
from hanji.contracts.rows import TokenRows
from hanji.objectives.likelihood import Likelihood


class SupervisedFineTuning(Likelihood):
    """Mean −log p over the assistant's tokens and the ends of its turns (Ouyang et al. 2022, step 1)."""

    name = "sft"
    rows = "chat"

    def encode(self, rows: Sequence[Mapping[str, Any]], encoder: Encoder) -> TokenRows:
        """Each chat by the tokenizer's template; only the assistant's words are trained."""
        chats = encoder.encode_chats([(row["messages"], row.get("tools")) for row in rows])
        return TokenRows(
            np.concatenate([chat.ids for chat in chats]),
            np.array([len(chat.ids) for chat in chats], np.int64),
            np.concatenate([chat.trained for chat in chats]),
            np.array([chat.text_bytes for chat in chats], np.int64),
        )
