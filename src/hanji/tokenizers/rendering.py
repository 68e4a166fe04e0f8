"""Chats to text through a chat template, in Jinja's sandbox."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from hanji.contracts.errors import DataError

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None

_MARK: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")
_REASONING: Final = ("reasoning_content", "thinking", "reasoning")
_RENDERING_ERRORS: Final = (TemplateError, TypeError, ValueError, KeyError, AttributeError)
_ONE_AT_A_TIME: Final = threading.Lock()
"""A compiled template notes its marks in itself: two threads must not use it at once."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A chat as text, and the stretches of it that the assistant says, each with the end of its turn."""

    text: str
    spans: tuple[tuple[int, int], ...]


class Renderer:
    """Applies one chat template.

    Args:
        template: Jinja, with or without `{% generation %}` marks.
        variables: the names of special tokens, as the template knows them (`bos_token`, ...).
    """

    def __init__(self, template: str, variables: Mapping[str, str]) -> None:
        self.template = template
        self.is_marked = _MARK.search(template) is not None
        self._variables = dict(variables)

    def check(self, messages: Messages, tools: Tools) -> None:
        """Refuses what the template would drop.

        Raises:
            DataError: for a chat without messages, or with tools, calls or reasoning that the template drops.
        """
        if not messages:
            raise DataError(
                "a chat without messages", expected="at least one message with a role and content"
            )
        if tools and "tools" not in self.template:
            raise DataError(
                "the chat offers tools, and the chat template knows none", hint="Leave `tools` out."
            )
        for index, message in enumerate(messages):
            if message.get("tool_calls") and "tool_calls" not in self.template:
                raise DataError(
                    "the message calls tools, and the chat template drops calls", where=f"message {index}"
                )
            if any(message.get(name) for name in _REASONING) and not any(
                name in self.template for name in ("reasoning_content", "thinking")
            ):
                raise DataError(
                    "the message holds reasoning, and the chat template drops it", where=f"message {index}"
                )

    def prompt(self, messages: Messages, tools: Tools) -> str:
        """The chat with the opening of an answer."""
        return self._render(messages, tools, add_generation_prompt=True)[0]

    def transcript(self, messages: Messages, tools: Tools) -> tuple[str, list[tuple[int, int]]]:
        """The whole chat, and the stretches between `{% generation %}` marks."""
        return self._render(messages, tools, add_generation_prompt=False)

    def _render(
        self, messages: Messages, tools: Tools, *, add_generation_prompt: bool
    ) -> tuple[str, list[tuple[int, int]]]:
        chat = [{name: value for name, value in message.items() if value is not None} for message in messages]
        try:
            with _ONE_AT_A_TIME:
                texts, marks = render_jinja_template(
                    conversations=[chat],
                    tools=list(tools) if tools else None,
                    chat_template=self.template,
                    return_assistant_tokens_mask=self.is_marked and not add_generation_prompt,
                    add_generation_prompt=add_generation_prompt,
                    **self._variables,
                )
        except _RENDERING_ERRORS as error:
            raise DataError(
                "the chat template cannot write this chat",
                value=[message.get("role") for message in messages],
                hint=f"The template says: {error}",
            ) from error
        return texts[0], [(start, end) for start, end in marks[0]] if marks else []
