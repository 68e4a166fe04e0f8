"""Chats of one question and one answer in columns: Alpaca, prompt and completion, question and answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hanji.data.chats.messages import (
    Chat,
    Message,
    checked,
    messages_of,
    text_field,
    tools_of,
    with_system,
)
from hanji.data.records import RowProblem


def from_alpaca(fields: Mapping[str, Any]) -> Chat:
    """`instruction`, perhaps `input` below it, `output`; perhaps `system` and `history` (earlier turns).

    Raises:
        RowProblem: a part is missing or is not what it should be.
    """
    messages = [*instruction(fields), {"role": "assistant", "content": text_field(fields, "output")}]
    return checked(with_system(fields.get("system"), messages), "instruction"), None


def instruction(fields: Mapping[str, Any]) -> list[Message]:
    """What Alpaca's columns ask: the turns of `history`, then `instruction` with `input` below it.

    Raises:
        RowProblem: a part is missing or is not what it should be.
    """
    given = text_field(fields, "input", empty=True)
    question = text_field(fields, "instruction")
    content = f"{question}\n\n{given}" if given.strip() else question
    return [*_history(fields.get("history")), {"role": "user", "content": content}]


def from_prompt_completion(fields: Mapping[str, Any]) -> Chat:
    """`prompt` and `completion`, each text or a list of messages; perhaps `system` and `tools`.

    Raises:
        RowProblem: a part is missing or is not what it should be.
    """
    prompt = _side(fields, "prompt", "user")
    completion = _side(fields, "completion", "assistant")
    messages = with_system(fields.get("system"), prompt + completion)
    return checked(messages, "prompt"), tools_of(fields.get("tools"))


def from_question_answer(fields: Mapping[str, Any]) -> Chat:
    """`question` and `answer`; perhaps `system`.

    Raises:
        RowProblem: a part is missing or is not what it should be.
    """
    messages = _turn(text_field(fields, "question"), text_field(fields, "answer"))
    return with_system(fields.get("system"), messages), None


def _turn(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _side(fields: Mapping[str, Any], name: str, role: str) -> list[Message]:
    if isinstance(fields.get(name), list):
        return messages_of(fields[name], name)
    return [{"role": role, "content": text_field(fields, name)}]


def _history(history: Any) -> list[Message]:
    messages: list[Message] = []
    for index, pair in enumerate(history or ()):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(x, str) for x in pair):
            raise RowProblem(
                "an earlier turn must be a question and its answer",
                field=f"history[{index}]",
                value=pair,
                expected='["question", "answer"]',
            )
        messages += _turn(*pair)
    return messages
