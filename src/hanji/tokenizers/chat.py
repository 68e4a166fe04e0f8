"""The one way from a chat to ids: for training, for the terminal, and for a server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
from transformers import PreTrainedTokenizerFast

from hanji.contracts.errors import DataError, HanjiError, ModelError
from hanji.contracts.protocols import EncodedChat
from hanji.tokenizers.backend import PRIVATE_USE, renamed_backend, special_tokens
from hanji.tokenizers.pieces import PieceEncoder, Pieces
from hanji.tokenizers.rendering import Messages, Rendered, Renderer, Tools
from hanji.tokenizers.turns import TurnFinder, find_end_of_turn, no_end_of_turn

Chat = tuple[Messages, Tools]
"""Messages, and the tools on offer."""

_PRIVATE: Final = re.compile(f"[{chr(PRIVATE_USE.start)}-{chr(PRIVATE_USE.stop - 1)}]")
_CHATS_AT_ONCE: Final = 1024


@dataclass(frozen=True, slots=True)
class _Written:
    """A rendered chat in which every control token is one character that no message holds.

    Attributes:
        text: the chat.
        spans: where the assistant speaks.
        openings: per span, the text before it from the last control token on.
        first_name: the character of the first control token; the others follow.
        text_bytes: UTF-8 bytes of the spans without control tokens.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    openings: tuple[str, ...]
    first_name: int
    text_bytes: int


class ChatEncoder:
    """Chats to ids with one tokenizer's template.

    What looks like a control token in a message is swapped for a placeholder while the template runs. The
    control tokens that the template itself writes then get names from Unicode's private use, known to a copy
    of the tokenizer; the placeholders turn back, and one call encodes it all. So the ids are the template's
    own, except that a control token in a message is ordinary text, whatever stands around it.
    """

    def __init__(self, hf: PreTrainedTokenizerFast) -> None:
        self._hf = hf
        added = {token.content: index for index, token in hf.added_tokens_decoder.items()}
        try:
            self.end_of_turn = find_end_of_turn(self._renderer(None), any_of(added))
        except ModelError:  # several templates and no default one: said when a chat comes
            self.end_of_turn = None
        self.end_of_turn_id = added.get(self.end_of_turn) if self.end_of_turn is not None else None
        ending = [token for token in (self.end_of_turn, hf.eos_token) if token is not None and token in added]
        self._control: list[str] = sorted({*special_tokens(hf.backend_tokenizer), *ending})
        self._pattern = any_of(self._control)
        self._suspicious = re.compile(f"{self._pattern.pattern}|{_PRIVATE.pattern}")
        self._encoder = lru_cache(maxsize=2)(self._named_from)

    def encode(self, chats: Sequence[Chat], *, add_generation_prompt: bool = False) -> list[EncodedChat]:
        """Each chat's ids, and which of them are trained; with a generation prompt, none."""
        encoded: list[EncodedChat] = []
        for start in range(0, len(chats), _CHATS_AT_ONCE):
            written = []
            for index, chat in enumerate(chats[start : start + _CHATS_AT_ONCE], start):
                with _naming(index, len(chats)):
                    written.append(self._write(*chat, add_generation_prompt))
            encodings = self._encode([(chat.text, chat.first_name) for chat in written])
            openings = list(
                dict.fromkeys((text, chat.first_name) for chat in written for text in chat.openings)
            )
            known = dict(zip(openings, self._encode(openings), strict=True))
            for index, (text, encoding) in enumerate(zip(written, encodings, strict=True), start):
                with _naming(index, len(chats)):
                    before = [known[opening, text.first_name] for opening in text.openings]
                    encoded.append(self._with_mask(text, encoding, before))
        return encoded

    def _write(self, messages: Messages, tools: Tools, add_generation_prompt: bool) -> _Written:
        renderer = self._renderer(tools)
        renderer.check(messages, tools)
        typed = _Typed.of((messages, tools), self._suspicious, len(self._control), renderer.template)
        messages, tools = typed.hide(messages), typed.hide(tools)
        if add_generation_prompt:
            rendered = Rendered(renderer.prompt(messages, tools), ())
        elif not any(message.get("role") == "assistant" for message in messages):
            rendered = Rendered(renderer.transcript(messages, tools)[0], ())
        elif self.end_of_turn is None:
            raise no_end_of_turn()
        else:
            rendered = TurnFinder(renderer, self._pattern, self.end_of_turn).find(messages, tools)
        return self._name(rendered, typed)

    def _name(self, rendered: Rendered, typed: _Typed) -> _Written:
        """Gives the template's control tokens their names, and the messages their own text back."""
        names = {token: chr(typed.first_name + index) for index, token in enumerate(self._control)}
        known = {**names, **typed.hidden}
        pattern = any_of(known) if typed.hidden else self._pattern
        cuts = [0, *(position for span in rendered.spans for position in span), len(rendered.text)]
        pieces = [
            pattern.sub(lambda found: known[found.group()], rendered.text[start:end])
            for start, end in pairwise(cuts)
        ]
        ends = np.cumsum([len(piece) for piece in pieces]).tolist()
        text = "".join(pieces)
        control = re.compile(f"[{chr(typed.first_name)}-{chr(typed.first_name + len(names) - 1)}]")
        spans = tuple(zip(ends[0:-1:2], ends[1:-1:2], strict=True))
        openings = []
        for start, _ in spans:
            before = [found.start() for found in control.finditer(text, 0, start)]
            openings.append(text[before[-1] if before else 0 : start])
        text_bytes = sum(len(control.sub("", text[start:end]).encode()) for start, end in spans)
        return _Written(text, spans, tuple(openings), typed.first_name, text_bytes)

    def _with_mask(self, chat: _Written, pieces: Pieces, openings: Sequence[Pieces]) -> EncodedChat:
        """Marks the tokens of the spans, having made sure that an answer begins where its prompt ends."""
        trained = np.zeros(len(pieces.ids), np.bool_)
        for (start, end), opening in zip(chat.spans, openings, strict=True):
            stretch = pieces.within(chat.text, start, end)
            first, after = stretch or (0, 0)
            before = pieces.ids[max(first - len(opening.ids), 0) : first]
            if stretch is None or not np.array_equal(before, opening.ids):
                names = {chr(chat.first_name + index): token for index, token in enumerate(self._control)}
                shown = chat.text[max(start - 20, 0) : end + 20]
                raise DataError(
                    "no border of a token cuts the answer from its prompt, or from what follows it",
                    value="".join(names.get(character, character) for character in shown),
                    hint="Take the whitespace off the ends of the answer.",
                )
            trained[first:after] = True
        return EncodedChat(pieces.ids, trained, chat.text_bytes)

    def _encode(self, named: Sequence[tuple[str, int]]) -> list[Pieces]:
        """Encodes texts, each with the copy of the tokenizer that knows its names."""
        encodings: dict[int, Pieces] = {}
        for first_name in dict.fromkeys(first for _, first in named):
            indices = [index for index, (_, first) in enumerate(named) if first == first_name]
            texts = [named[index][0] for index in indices]
            encodings |= dict(zip(indices, self._encoder(first_name).encode(texts), strict=True))
        return [encodings[index] for index in range(len(named))]

    def _named_from(self, first_name: int) -> PieceEncoder:
        names = {token: chr(first_name + index) for index, token in enumerate(self._control)}
        description, backend = renamed_backend(self._hf.backend_tokenizer, names)
        return PieceEncoder(description, backend, [*names, *names.values()])

    def _renderer(self, tools: Tools) -> Renderer:
        try:
            template = self._hf.get_chat_template(None, tools=tools)
        except ValueError as error:
            raise ModelError(
                "the tokenizer has several chat templates and no default one", hint=str(error)
            ) from error
        return Renderer(template, self._hf.special_tokens_map)


@dataclass(frozen=True, slots=True)
class _Typed:
    """What a person typed that a template or a tokenizer could take for a control token.

    Attributes:
        placeholders: typed control token → a character of private use that stands for it.
        hidden: what to turn back in the rendered text: that character, also as JSON escapes it.
        first_name: where names for control tokens can begin without meeting a typed character.
    """

    placeholders: Mapping[str, str]
    hidden: Mapping[str, str]
    first_name: int
    _pattern: re.Pattern[str] | None

    @classmethod
    def of(cls, chat: Any, suspicious: re.Pattern[str], names: int, template: str) -> _Typed:
        found = {match for text in _strings(chat) for match in suspicious.findall(text)}
        taken = {ord(match) for match in found if _PRIVATE.fullmatch(match)}
        taken |= {ord(match) for match in _PRIVATE.findall(template)}
        control = sorted(match for match in found if not _PRIVATE.fullmatch(match))
        first_name = _free_range(taken, names)
        taken |= set(range(first_name, first_name + names))
        free = (chr(point) for point in reversed(PRIVATE_USE) if point not in taken)
        placeholders = dict(zip(control, free, strict=False))
        hidden = {mark: token for token, mark in placeholders.items()}
        hidden |= {json.dumps(mark)[1:-1]: json.dumps(token)[1:-1] for token, mark in placeholders.items()}
        return cls(placeholders, hidden, first_name, any_of(control) if control else None)

    def hide(self, value: Any) -> Any:
        """`value` with each typed control token as its placeholder, in keys too."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self._pattern.sub(lambda found: self.placeholders[found.group()], value)
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.hide(item) for item in value]
        return value


def any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Matches any of `tokens`, the longest first, or nothing where there is none."""
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _free_range(taken: set[int], size: int) -> int:
    start = PRIVATE_USE.start
    for point in sorted(taken):
        if point - start >= size:
            break
        start = max(start, point + 1)
    if start + size > PRIVATE_USE.stop:
        raise DataError("the chat holds characters from all over Unicode's private use areas")
    return start


@contextmanager
def _naming(index: int, count: int) -> Iterator[None]:
    """Says in an error which of several chats it is about."""
    try:
        yield
    except HanjiError as error:
        if count > 1:
            error.where = f"chat {index}" if error.where is None else f"chat {index}, {error.where}"
        raise
