"""Encoders for tests: one whose tokens can be read with the eye, and tiny ones of the usual kinds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.frame import Frame
from hanji.contracts.protocols import EncodedChat
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer

PAD, UNKNOWN, CLS, SEP, MASK = range(5)

KOREAN = "할머니께서는 닥나무 껍질을 물에 불리고, 방망이로 두드리고, 한 장씩 떠서 햇볕에 말리셨습니다."
ENGLISH = "Grandmother's paper-maker soaked the mulberry bark, beat it, and dried every sheet in the sun."
CORPUS = [
    "The first page is blank. Someone takes a brush, grinds the ink, and begins to write on paper.",
    "한지는 닥나무 껍질로 만든다. 물에 불리고, 두드리고, 한 장씩 떠서 말린다. 그래서 천 년을 간다고 한다.",
    "In 1443 and 2026, 12,345 sheets at 3.75 each: don't we'll they're I'm it's she'd you've.",
    "만들었습니다 말리셨습니다 두드리셨습니다. 할머니와 할아버지께서는 물을 끓이고 햇볕에 널었다.",
] * 4


class Numbers:
    """Every word is a number and its own id, whatever mark stands after it; -1 is a word it does not know,
    and a mark alone is no token at all.

    Framed as BERT does: [CLS] first [SEP] second [SEP].
    """

    bos_id = eos_id = chat_template = None
    pad_id, mask_id = PAD, MASK
    special_ids = frozenset(range(5))

    def __init__(
        self, size: int, *, before: int = 1, between: int = 1, after: int = 1, has_segments: bool = True
    ) -> None:
        self.vocabulary_size = size
        self.frame = Frame((CLS,) * before, (SEP,) * between, (SEP,) * after, has_segments)
        self.continues_word = np.zeros(size, np.bool_)

    def encode_texts(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        words = [[int(word) for word in text.replace(".", " ").split()] for text in texts]
        ids = np.array([index for text in words for index in text], np.int32)
        ids[ids < 0] = UNKNOWN
        return ids, np.array([len(text) for text in words], np.int64)

    def encode_chat(self, messages: Any, **options: Any) -> EncodedChat:
        raise NotImplementedError

    def encode_chats(self, chats: Any) -> list[EncodedChat]:
        raise NotImplementedError

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        return " ".join(map(str, ids))


@cache
def trained(algorithm: Any, *special_tokens: str) -> Tokenizer:
    """A tokenizer so small that most words are several tokens."""
    return train_tokenizer(
        iter(CORPUS), algorithm=algorithm, vocab_size=420, special_tokens=list(special_tokens)
    )
