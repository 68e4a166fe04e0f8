"""ShareGPT: `conversations` of `from` and `value`, with function calls as LLaMA-Factory writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hanji.data.chats.messages import (
    Chat,
    Message,
    checked,
    from_messages,
    messages_of,
    parsed_json,
    tool_call,
    tools_of,
    with_system,
)
from hanji.data.records import RowProblem

_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "tool": "tool",
}


def from_sharegpt(fields: Mapping[str, Any]) -> Chat:
    """A record with `conversations`, and perhaps `tools` and `system`; turns with roles are messages.

    Raises:
        RowProblem: a part is missing or is not what it should be.
    """
    turns = fields["conversations"]
    if isinstance(turns, str):
        turns = parsed_json(turns, "conversations", "a list of turns")
    if not isinstance(turns, list):
        raise RowProblem(
            "conversations must be a list", field="conversations", value=turns, expected="a list of turns"
        )
    if turns and isinstance(turns[0], Mapping) and "role" in turns[0]:
        return from_messages({**fields, "messages": turns})
    messages: list[Message] = []
    for index, turn in enumerate(turns):
        messages.append(_message(turn, f"conversations[{index}]", messages))
    messages = with_system(fields.get("system"), messages)
    return checked(messages, "conversations"), tools_of(fields.get("tools"))


def _message(turn: Any, field: str, before: list[Message]) -> Message:
    speaker = turn.get("from") if isinstance(turn, Mapping) else None
    if speaker not in _ROLES:
        raise RowProblem("no such speaker", field=f"{field}.from", value=speaker, expected=", ".join(_ROLES))
    value = turn.get("value")
    if not isinstance(value, str) or not value.strip():
        raise RowProblem("a turn without text", field=f"{field}.value", value=value, expected="some text")
    if speaker == "function_call":
        called = parsed_json(value, f"{field}.value", 'a JSON object, as {"name": ..., "arguments": {...}}')
        calls = called if isinstance(called, list) else [called]
        return {
            "role": "assistant",
            "content": "",
            "tool_calls": [tool_call(call, f"{field}.value") for call in calls],
        }
    (message,) = messages_of([{"role": _ROLES[speaker], "content": value}], field)
    if message["role"] == "tool" and before and len(before[-1].get("tool_calls", ())) == 1:
        message["name"] = before[-1]["tool_calls"][0]["function"]["name"]
    return message
