"""Chats as lists of messages (role and content), which is the form that every other one is turned into."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hanji.data.records import RowProblem

ROLES = ("system", "developer", "user", "assistant", "tool")
_TEXT_KEYS = ("name", "reasoning_content", "tool_call_id")

Message = dict[str, Any]
Chat = tuple[list[Message], list[dict[str, Any]] | None]
"""The messages, and the tools that the assistant may call."""


def from_messages(fields: Mapping[str, Any]) -> Chat:
    """A record with `messages`, and perhaps `tools` and `system`.

    Raises:
        RowProblem: a part is missing or is not what it should be.
    """
    listed = fields["messages"]
    if isinstance(listed, str):
        listed = parsed_json(listed, "messages", "a list of messages")
    messages = with_system(fields.get("system"), [*messages_of(listed, "messages")])
    return checked(messages, "messages"), tools_of(fields.get("tools"))


def messages_of(listed: Any, field: str) -> list[Message]:
    """Every item as a message with the keys that templates know; empty ones are left out."""
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise RowProblem("a chat must be a list of messages", field=field, value=listed, expected="a list")
    return [_message(item, f"{field}[{index}]") for index, item in enumerate(listed)]


def checked(messages: list[Message], field: str) -> list[Message]:
    """The messages, if a model can learn from them.

    Raises:
        RowProblem: nobody asks, nobody answers, or a turn stands where none of its role can.
    """
    if not any(message["role"] == "assistant" for message in messages):
        raise RowProblem(
            "no message of the assistant: there is nothing to learn",
            field=field,
            value=[message["role"] for message in messages],
            expected="at least one message with the role assistant",
        )
    check_turns(messages, [f"{field}[{index}]" for index in range(len(messages))])
    return messages


def check_turns(messages: Sequence[Message], places: Sequence[str]) -> None:
    """Refuses a turn that stands where none of its role can; `places`: the field of each.

    Raises:
        RowProblem: there is one.
    """
    previous: Message = {"role": "system"}
    for index, (message, field) in enumerate(zip(messages, places, strict=True)):
        role, place = message["role"], f"{field}.role"
        if role in ("system", "developer") and index > 0:
            raise RowProblem("system text after the chat began", field=place, value=role, expected="it first")
        if role == "assistant" and previous["role"] in ("system", "developer"):
            raise RowProblem(
                "the assistant speaks first", field=place, value=role, expected="a user's message"
            )
        if role == "tool" and previous["role"] != "tool" and not previous.get("tool_calls"):
            raise RowProblem(
                "a tool answers that was not called",
                field=place,
                value=role,
                expected="tool_calls in the message before",
            )
        previous = message


def with_system(system: Any, messages: list[Message]) -> list[Message]:
    """`messages` after the system text, where there is one and they do not begin with their own."""
    if system is None or system == "":
        return messages
    if not isinstance(system, str):
        raise RowProblem("the system text must be text", field="system", value=system, expected="a string")
    if messages and messages[0]["role"] in ("system", "developer"):
        raise RowProblem(
            "system text twice", field="system", value=system, expected="a column or a message, not both"
        )
    return [{"role": "system", "content": system}, *messages]


def text_field(fields: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    """A field that must be text, and not blank unless `empty` says that it may be."""
    value = fields.get(name)
    if value is None and empty:
        return ""
    if not isinstance(value, str):
        raise RowProblem(f"{name} must be text", field=name, value=value, expected="a string")
    if not empty and not value.strip():
        raise RowProblem(f"{name} is empty", field=name, value=value, expected="some text")
    return value


def parsed_json(text: str, field: str, expected: str) -> Any:
    """The value that a field holds as JSON text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RowProblem(f"not JSON: {error.msg}", field=field, value=text, expected=expected) from None


def tools_of(value: Any) -> list[dict[str, Any]] | None:
    """The `tools` of a record, a list or its JSON, in the form {"type": "function", "function": {...}}."""
    if isinstance(value, str):
        value = parsed_json(value, "tools", "a list of functions") if value.strip() else None
    if not value:
        return None
    if not isinstance(value, list):
        raise RowProblem("tools must be a list", field="tools", value=value, expected="a list of functions")
    return [_tool(item, f"tools[{index}]") for index, item in enumerate(value)]


def tool_call(value: Any, field: str) -> dict[str, Any]:
    """One call in the form {"type": "function", "function": {"name": ..., "arguments": {...}}}."""
    if not isinstance(value, Mapping):
        raise RowProblem(
            "a tool call must be an object", field=field, value=value, expected="name, arguments"
        )
    function = value.get("function", value)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise RowProblem(
            "a tool call without a name", field=f"{field}.name", value=value, expected="a string"
        )
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = parsed_json(arguments or "{}", f"{field}.arguments", "a JSON object")
    if not isinstance(arguments, Mapping):
        raise RowProblem(
            "the arguments of a tool call must be an object",
            field=f"{field}.arguments",
            value=arguments,
            expected='an object, as {"city": "서울"}',
        )
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": _present(arguments)}}
    return {"id": value["id"], **call} if value.get("id") else call


def _message(item: Any, field: str) -> Message:
    if not isinstance(item, Mapping):
        raise RowProblem("a message must be an object", field=field, value=item, expected="role and content")
    role = item.get("role")
    if role not in ROLES:
        raise RowProblem("no such role", field=f"{field}.role", value=role, expected=", ".join(ROLES))
    calls = item.get("tool_calls")
    message: Message = {"role": role, "content": _content(item.get("content"), field, bool(calls))}
    if calls:
        if role != "assistant" or not isinstance(calls, Sequence) or isinstance(calls, str):
            raise RowProblem(
                "tool calls must be a list, in a message of the assistant",
                field=f"{field}.tool_calls",
                value=calls,
                expected="a list",
            )
        named = enumerate(calls)
        message["tool_calls"] = [tool_call(call, f"{field}.tool_calls[{index}]") for index, call in named]
    for key in _TEXT_KEYS:
        value = item.get(key)
        if value is not None:
            if not isinstance(value, str):
                raise RowProblem(
                    f"{key} must be text", field=f"{field}.{key}", value=value, expected="a string"
                )
            message[key] = value
    return message


def _content(content: Any, field: str, may_be_empty: bool) -> str:
    place = f"{field}.content"
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise RowProblem(
                "content that is not text",
                field=place,
                value=content,
                expected='a string, or parts as {"type": "text", "text": "..."}',
            )
        content = "".join(str(part) for part in parts)
    if content is None and may_be_empty:
        return ""
    if not isinstance(content, str):
        raise RowProblem("content must be text", field=place, value=content, expected="a string")
    if not content.strip() and not may_be_empty:
        raise RowProblem("content is empty", field=place, value=content, expected="some text")
    return content


def _tool(item: Any, field: str) -> dict[str, Any]:
    function = item.get("function", item) if isinstance(item, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowProblem("a tool without a name", field=field, value=item, expected="name, parameters")
    return {"type": "function", "function": _present(function)}


def _present(value: Any) -> Any:
    # columnar files give every key of every row, absent ones as null
    if isinstance(value, Mapping):
        return {key: _present(item) for key, item in value.items() if item is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value
