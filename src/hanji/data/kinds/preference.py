"""Preferences: of two answers to a prompt, the one that people like more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from hanji.data.chats.messages import Message
from hanji.data.cleaning import Cleaning
from hanji.data.kinds.chat import cleaned_messages, opening
from hanji.data.kinds.row import as_json
from hanji.data.records import RowProblem


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A prompt and two answers to it.

    Attributes:
        messages: the prompt.
        chosen, rejected: the answers; each begins and ends with a message of the assistant.
        margin: how much better the chosen one is, where that is known.
    """

    kind: ClassVar[str] = "preference"
    plural: ClassVar[str] = "preferences"

    messages: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: list[dict[str, Any]] | None = None
    margin: float | None = None

    @property
    def empty(self) -> bool:
        """Never: a message without text is malformed."""
        return False

    def cleaned(self, clean: Cleaning) -> PreferenceRow:
        """The row with its text cleaned; arguments and tools stay as they are.

        Raises:
            RowProblem: nothing is left of a message, or of what tells the answers apart.
        """
        chosen = cleaned_messages(self.chosen, "chosen", clean)
        rejected = cleaned_messages(self.rejected, "rejected", clean)
        if chosen == rejected:
            raise RowProblem(
                "the chosen answer is the rejected one: there is nothing to learn",
                field="rejected",
                value=rejected[-1]["content"],
                expected="another answer than the chosen one",
            )
        messages = cleaned_messages(self.messages, "prompt", clean)
        return PreferenceRow(messages, chosen, rejected, self.tools, self.margin)

    def content(self) -> str:
        """Prompt, answers, tools and margin."""
        return as_json([self.messages, self.chosen, self.rejected, self.tools, self.margin])

    def split_key(self) -> str:
        """What the prompt says before its first answer, as of a chat: both stay on one side."""
        return opening(self.messages)

    def values(self) -> dict[str, Any]:
        """Its columns."""
        return {
            "messages": list(self.messages),
            "chosen": list(self.chosen),
            "rejected": list(self.rejected),
            "tools": self.tools or None,
            "margin": self.margin,
        }
