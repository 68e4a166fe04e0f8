"""Tokens that come one by one become text: never half a character, never a part of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

UNFINISHED = "�"
"""What decoders put for the bytes of a character whose other bytes have not come yet."""


class TextDecoder(Protocol):
    """What generation asks of a tokenizer."""

    @property
    def pad_id(self) -> int: ...
    @property
    def eos_ids(self) -> Sequence[int]: ...

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str: ...


class TextPieces:
    """Turns tokens that come one by one into text that never shows half a character.

    A Hangul syllable or an emoji may be spread over several tokens; the text of a token may depend on the one
    before it. So the tokens of the piece before are decoded together with the new ones, and text is handed
    out only while it does not end in an unfinished character.
    """

    def __init__(self, tokenizer: TextDecoder) -> None:
        self._tokenizer = tokenizer
        self._shown: list[int] = []  # tokens of the piece handed out last: the context of the next
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        """The text that became certain with `token`; empty while a character is unfinished."""
        self._waiting.append(token)
        return self._take(last=False)

    def finish(self) -> str:
        """What is left, whatever it is."""
        return self._take(last=True)

    def _take(self, *, last: bool) -> str:
        before = self._decode(self._shown)
        text = self._decode(self._shown + self._waiting)[len(before) :]
        if not text or (text.endswith(UNFINISHED) and not last):
            return ""
        self._shown, self._waiting = self._waiting, []
        return text

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True) if ids else ""


class StopStrings:
    """Ends a text before the first stop string, also where one is spread over several pieces.

    Args:
        strings: what ends the text; none of it is handed out.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(string for string in strings if string)
        self._held = ""
        self.found: str | None = None

    def push(self, piece: str) -> str:
        """The text that is certain with `piece`: no part of it can belong to a stop string.

        Once `found` is set, nothing more is handed out.
        """
        if self.found is not None:
            return ""
        text = self._held + piece
        at = [(place, string) for string in self._strings if (place := text.find(string)) >= 0]
        if at:
            place, self.found = min(at)
            self._held = ""
            return text[:place]
        held = max((self._begun(text, string) for string in self._strings), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """What was held back, for the text is over and it was no stop string."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _begun(text: str, string: str) -> int:
        """How many characters at the end of `text` begin `string`."""
        longest = min(len(text), len(string) - 1)
        return next((size for size in range(longest, 0, -1) if string.startswith(text[-size:])), 0)
