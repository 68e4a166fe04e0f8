"""Tokens that llama.cpp does not tell while it streams: those before the one that completes a character."""

from __future__ import annotations

from hanji.serving.logprobs import token_bytes
from hanji.tokenizers.tokenizer import Tokenizer


class Fragments:
    """Finds them by their bytes: the text is known, and how many tokens it has, and which one is the last."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known = _fragments(tokenizer)

    def tokens(self, text: str, last: int, count: int) -> list[int]:
        """The `count` tokens that wrote `text`, the last of which is known.

        Where a model has written bytes that are no text, nobody can tell; then tokens of the text that is
        shown in their place.
        """
        if count <= 1:
            return [last][:count]
        spelt, end = text.encode(), token_bytes(self._tokenizer, last)
        found = self._split(spelt.removesuffix(end), count - 1) if spelt.endswith(end) else None
        return [*found, last] if found is not None else self._tokenizer.encode_texts([text])[0].tolist()

    def _split(self, spelt: bytes, count: int) -> list[int] | None:
        if not count:
            return None if spelt else []
        for size in range(len(spelt), 0, -1):
            token = self._known.get(spelt[:size])
            if token is not None and (rest := self._split(spelt[size:], count - 1)) is not None:
                return [token, *rest]
        return None


def _fragments(tokenizer: Tokenizer) -> dict[bytes, int]:
    """Token by its bytes, of those that begin or end within a character."""
    known: dict[bytes, int] = {}
    for token in range(tokenizer.vocabulary_size):
        spelt = token_bytes(tokenizer, token)
        try:
            spelt.decode()
        except UnicodeDecodeError:
            known[spelt] = token
    return known
