"""Chats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, ClassVar

from hanji.data.chats.messages import Message
from hanji.data.cleaning import Cleaning
from hanji.data.kinds.row import as_json
from hanji.data.records import RowProblem

_CLEANED = ("content", "reasoning_content")


@dataclass(frozen=True, slots=True)
class ChatRow:
    """The messages of a chat, with the tools that it may use."""

    kind: ClassVar[str] = "chat"
    plural: ClassVar[str] = "chats"

    messages: tuple[Message, ...]
    tools: list[dict[str, Any]] | None = None

    @property
    def empty(self) -> bool:
        """Never: a message without text is malformed."""
        return False

    def cleaned(self, clean: Cleaning) -> ChatRow:
        """The row with its text cleaned; arguments and tools stay as they are.

        Raises:
            RowProblem: nothing is left of a message.
        """
        return ChatRow(cleaned_messages(self.messages, "messages", clean), self.tools)

    def content(self) -> str:
        """Messages and tools."""
        return as_json([self.messages, self.tools])

    def split_key(self) -> str:
        """What is said before the first answer."""
        return opening(self.messages)

    def values(self) -> dict[str, Any]:
        """Its columns."""
        return {"messages": list(self.messages), "tools": self.tools or None}


def cleaned_messages(messages: Iterable[Message], field: str, clean: Cleaning) -> tuple[Message, ...]:
    """The messages with their text cleaned.

    Raises:
        RowProblem: nothing is left of one.
    """
    new = []
    for index, message in enumerate(messages):
        new.append({**message, **{key: clean(message[key]) for key in _CLEANED if key in message}})
        if not new[-1]["content"].strip() and not message.get("tool_calls"):
            raise RowProblem(
                "content is empty once cleaned",
                field=f"{field}[{index}].content",
                value=message["content"],
                expected="some text",
            )
    return tuple(new)


def opening(messages: Iterable[Message]) -> str:
    """Who says what before the assistant first speaks."""
    before = takewhile(lambda message: message["role"] != "assistant", messages)
    return as_json([[message["role"], message["content"]] for message in before])
