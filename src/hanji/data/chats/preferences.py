"""Preferences in columns: a prompt and two answers, or two chats that begin alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hanji.data.chats.instructions import instruction
from hanji.data.chats.messages import Message, check_turns, messages_of, text_field, tools_of, with_system
from hanji.data.kinds.preference import PreferenceRow
from hanji.data.records import RowProblem


def from_preference(fields: Mapping[str, Any]) -> PreferenceRow:
    """`prompt`, `chosen`, `rejected`, each text or a list of messages; perhaps `system`, `tools`, `margin`.

    The answers may repeat the prompt, as whole chats.

    Raises:
        RowProblem: a part is missing or is not what it should be.
    """
    prompt = _side(fields, "prompt", "user")
    chosen, rejected = (_side(fields, name, "assistant") for name in ("chosen", "rejected"))
    if chosen[0]["role"] == rejected[0]["role"] == "assistant":
        return _row(fields, prompt, chosen, rejected, "prompt")
    begun = _common(chosen, rejected)
    if any(message not in begun for message in prompt):
        raise RowProblem(
            "chosen and rejected are whole chats that do not both begin with the prompt",
            field="prompt",
            value=fields["prompt"],
            expected="the beginning of both, or answers alone in chosen and rejected",
        )
    return _row(fields, begun, chosen[len(begun) :], rejected[len(begun) :], "chosen")


def from_chat_preference(fields: Mapping[str, Any]) -> PreferenceRow:
    """`chosen` and `rejected`, two chats; what they have in common at the beginning is the prompt.

    Raises:
        RowProblem: they begin differently, or a part is not what it should be.
    """
    chosen, rejected = (messages_of(fields[name], name) for name in ("chosen", "rejected"))
    begun = _common(chosen, rejected)
    if not begun:
        raise RowProblem(
            "the chats do not begin alike",
            field="rejected[0]",
            value=rejected[:1],
            expected="what chosen[0] is: both answer one prompt",
        )
    return _row(fields, begun, chosen[len(begun) :], rejected[len(begun) :], "chosen")


def from_alpaca_preference(fields: Mapping[str, Any]) -> PreferenceRow:
    """`instruction`, perhaps `input` below it, `chosen`, `rejected`; perhaps `system`, `history`, `margin`.

    Raises:
        RowProblem: a part is missing or is not what it should be.
    """
    chosen, rejected = (_side(fields, name, "assistant") for name in ("chosen", "rejected"))
    return _row(fields, instruction(fields), chosen, rejected, "instruction")


def _side(fields: Mapping[str, Any], name: str, role: str) -> list[Message]:
    if not isinstance(fields[name], list):
        return [{"role": role, "content": text_field(fields, name)}]
    messages = messages_of(fields[name], name)
    if not messages:
        raise RowProblem(f"{name} is empty", field=name, value=[], expected="at least one message")
    return messages


def _common(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The messages with which both begin, short of the last of each."""
    shared: list[Message] = []
    for one, other in zip(chosen[:-1], rejected[:-1], strict=False):
        if one != other:
            break
        shared.append(one)
    return shared


def _row(
    fields: Mapping[str, Any],
    prompt: list[Message],
    chosen: list[Message],
    rejected: list[Message],
    field: str,
) -> PreferenceRow:
    """The row, once both chats are such as could be trained on; `field`: where the prompt stood."""
    offset = len(prompt) if field == "chosen" else 0  # of an answer within its field
    places = [f"{field}[{index}]" for index in range(len(prompt))]
    messages = with_system(fields.get("system"), prompt)
    places = ["system"] * (len(messages) - len(prompt)) + places
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        own = [f"{name}[{offset + index}]" for index in range(len(answer))]
        for place, message in ((own[0], answer[0]), (own[-1], answer[-1])):
            if message["role"] != "assistant":
                raise RowProblem(
                    "an answer begins and ends with the assistant",
                    field=f"{place}.role",
                    value=message["role"],
                    expected="assistant",
                )
        check_turns([*messages, *answer], [*places, *own])
    return PreferenceRow(
        tuple(messages), tuple(chosen), tuple(rejected), tools_of(fields.get("tools")), _margin(fields)
    )


def _margin(fields: Mapping[str, Any]) -> float | None:
    """`margin`, or by how much `score_chosen` is above `score_rejected`."""
    margin = _number(fields, "margin")
    if margin is not None:
        return margin
    chosen, rejected = _number(fields, "score_chosen"), _number(fields, "score_rejected")
    return None if chosen is None or rejected is None else chosen - rejected


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise RowProblem(f"{name} must be a number", field=name, value=value, expected="a number")
    return number
