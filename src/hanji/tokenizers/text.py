"""Plain text to ids, as fast as the machine allows, with the ids that `tokenizers` gives."""

from __future__ import annotations

from collections.abc import Sequence

from hanji.contracts.errors import DataError
from hanji.tokenizers.backend import plain_description, special_tokens, text_backend
from hanji.tokenizers.collector import collector_at_rest
from hanji.tokenizers.fast import FastEncoder, Rows, encode_slowly
from tokenizers import Tokenizer as Backend


class TextEncoder:
    """Encodes texts without special tokens; what looks like one in a text stays text."""

    def __init__(self, backend: Backend) -> None:
        self._slow = text_backend(backend)
        with collector_at_rest():
            description = plain_description(backend)
            added = description["added_tokens"]
            description["added_tokens"] = [token for token in added if not token["special"]]
            self._fast = FastEncoder.of(description, self._slow, list(special_tokens(backend)))

    @property
    def is_fast(self) -> bool:
        """Whether gigatoken does the work."""
        return self._fast is not None

    def encode(self, texts: Sequence[str]) -> Rows:
        """Ids of all texts, one after another: [tokens], and how many each has: [texts].

        Raises:
            DataError: for a text that is no Unicode (half a surrogate pair).
        """
        texts = list(texts)
        try:
            return self._fast.encode(texts) if self._fast is not None else encode_slowly(self._slow, texts)
        except (UnicodeEncodeError, TypeError, ValueError) as error:
            for index, text in enumerate(texts):
                check_text(text, f"text {index}")
            raise AssertionError("every text was a good one") from error


def check_text(text: object, where: str) -> None:
    """Refuses what is no text.

    Raises:
        DataError: for another type, or half a surrogate pair.
    """
    if not isinstance(text, str):
        raise DataError("a text must be a string", where=where, value=text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "a text holds half of a surrogate pair, which is no character",
            where=f"{where}, character {error.start}",
            value=text[max(error.start - 20, 0) : error.end + 20],
        ) from error
