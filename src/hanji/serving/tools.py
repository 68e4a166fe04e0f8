"""Tool calls in what a model writes, where its chat template defines how they are written.

One way is known: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, of Hermes, Qwen, and our own
template. What is no such call stays text.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

OPENING: Final = "<tool_call>"
CLOSING: Final = "</tool_call>"


@dataclass(frozen=True, slots=True)
class Call:
    """A call: `arguments` is a JSON object, as text."""

    id: str
    name: str
    arguments: str

    def to_json(self) -> dict[str, Any]:
        """As OpenAI writes it."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


def defines_calls(template: str | None) -> bool:
    """Whether a chat template has the model write calls in the way that is known here."""
    return template is not None and OPENING in template


def call_grammar(functions: Sequence[tuple[str, Mapping[str, Any] | None]], most: int | None) -> str:
    """A grammar (Lark) of calls of these functions: names, and schemas of their arguments.

    Args:
        most: 1, or None for any number.
    """
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": parameters or {"type": "object"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name, parameters in functions
    ]
    form = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    schema = json.dumps({"x-guidance": form, "anyOf": calls}, ensure_ascii=False)
    more = "" if most == 1 else ' ("\\n" call)*'
    return f'start: call{more}\ncall: "{OPENING}\\n" said "\\n{CLOSING}"\nsaid: %json {schema}\n'


class ToolCalls:
    """Tells calls from text, as it comes in pieces.

    Args:
        most: how many calls are taken; what follows them is left out.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = ""
        self._inside = False
        self.calls: list[Call] = []

    def push(self, piece: str) -> list[str | Call]:
        """Text and calls that are certain with `piece`."""
        self._held += piece
        found: list[str | Call] = []
        while True:
            mark = CLOSING if self._inside else OPENING
            before, met, after = self._held.partition(mark)
            if not met:
                break
            self._held = after
            found += self._text(before) if not self._inside else self._call(before)
            self._inside = not self._inside
        if not self._inside:
            held = next(
                (size for size in range(len(OPENING) - 1, 0, -1) if self._held.endswith(OPENING[:size])), 0
            )
            sure, self._held = self._held[: len(self._held) - held], self._held[len(self._held) - held :]
            found += self._text(sure)
        return found

    def finish(self) -> list[str | Call]:
        """What is left; a call that was cut off is taken where it is whole but for its closing mark."""
        held, self._held = self._held, ""
        if not self._inside:
            return self._text(held)
        self._inside = False
        call = _parse(held)
        return self._call(held) if call else self._text(OPENING + held)

    def _text(self, text: str) -> list[str | Call]:
        """Space between and after calls is no text."""
        return [text] if text and not (self.calls and not text.strip()) else []

    def _call(self, written: str) -> list[str | Call]:
        call = _parse(written)
        if call is None:
            return self._text(OPENING + written + CLOSING)
        if len(self.calls) >= self._most:
            return []
        self.calls.append(call)
        return [call]


def _parse(written: str) -> Call | None:
    try:
        said = json.loads(written)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        return None
    arguments = said.get("arguments", said.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    if not isinstance(arguments, dict):
        return None
    return Call(f"call_{secrets.token_hex(12)}", said["name"], json.dumps(arguments, ensure_ascii=False))
