"""Which tokens go on with the word of the token before them: what whole-word masking hides together.

A word is what stands between spaces, in Korean the eojeol (어절); punctuation begins one of its own. How a
token is spelt tells whether it begins a word:

| tokenizer                    | begins a word                                   | as                      |
|------------------------------|-------------------------------------------------|-------------------------|
| WordPiece, BPE with a prefix | what has no `##`                                | `한지` `##는` `,`       |
| byte-level BPE               | white space, punctuation, Han or Kana in front  | `Ġpa` `per` `Ġ한` `지`  |
| SentencePiece's BPE, Unigram | the same, a space being `▁`                     | `▁pa` `per` `▁한` `지`  |

Special and other added tokens are words of their own. Where spaces are part of tokens, letters that follow a
mark of punctuation without a space go with it (`,` `5` in `1,5`): their token is the same after a letter. Han
and Kana have no spaces between words, so that every token of theirs begins one.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.errors import ModelError
from tokenizers import Tokenizer as Backend

_SPACE: Final = "▁"
_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")
_WITHOUT_SPACES: Final = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]"
)


def find_continuing(backend: Backend, size: int) -> NDArray[np.bool_]:
    """[size] whether each token goes on with the word of the token before it.

    Raises:
        ModelError: the tokenizer's spelling does not tell.
    """
    spelling = _Spelling.of(json.loads(backend.to_str()))
    added = backend.get_added_tokens_decoder()
    continues = np.zeros(size, np.bool_)
    for token, index in backend.get_vocab(with_added_tokens=True).items():
        continues[index] = index not in added and spelling.continues(token)
    return continues


@dataclass(frozen=True, slots=True)
class _Spelling:
    """How one kind of tokenizer writes the beginning of a token.

    Attributes:
        prefix: marks what goes on with a word (`##`); where there is one, all else begins a word.
        letters: letter → the byte that it stands for, in byte-level BPE.
    """

    prefix: str
    letters: Mapping[str, int]

    @classmethod
    def of(cls, description: dict[str, Any]) -> _Spelling:
        model = description["model"]
        prefix = model.get("continuing_subword_prefix") or ""
        parts = [description[name] for name in ("normalizer", "pre_tokenizer", "decoder")]
        if prefix:
            return cls(prefix, {})
        if "ByteLevel" in _words(parts):
            return cls("", byte_letters())
        if model["type"] != "WordLevel" and _SPACE in _words(parts) and not model.get("end_of_word_suffix"):
            return cls("", {})
        raise ModelError(
            "the tokens of this tokenizer do not tell where a word begins, so whole words cannot be masked",
            value=model["type"],
            expected="WordPiece, byte-level BPE, or SentencePiece (BPE or Unigram)",
            hint="Mask single tokens instead, or train a tokenizer here.",
        )

    def continues(self, token: str) -> bool:
        """Whether `token`, as the vocabulary writes it, goes on with a word."""
        if self.prefix:
            rest = token.removeprefix(self.prefix)
            return len(rest) < len(token) and not _is_punctuation(rest[:1])
        first = self._first_character(token)
        return first is None or not (
            first == _SPACE
            or first.isspace()
            or _is_punctuation(first)
            or _WITHOUT_SPACES.match(first) is not None
        )

    def _first_character(self, token: str) -> str | None:
        """None where the token begins with a part of a character."""
        if self.letters:
            spelt = bytes(self.letters[letter] for letter in token[:4] if letter in self.letters)
        elif found := _BYTE.fullmatch(token):
            spelt = bytes.fromhex(found[1])
        else:
            return token[:1]
        return _first_whole(spelt)


def byte_letters() -> dict[str, int]:
    """The letter that byte-level BPE writes for each byte → the byte (Radford et al. 2019).

    Bytes that print in Latin-1 are written as themselves; the others, in order, as letters from U+0100 on.
    """
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _first_whole(spelt: bytes) -> str | None:
    """The first character, where all of its bytes are there."""
    for size in range(1, len(spelt) + 1):
        try:
            return spelt[:size].decode()
        except UnicodeDecodeError:
            continue
    return None


def _is_punctuation(character: str) -> bool:
    """Punctuation and symbols, as Unicode classes them."""
    return character != "" and unicodedata.category(character)[0] in "PS"


def _words(value: Any) -> set[str]:
    return set(_strings(value))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
