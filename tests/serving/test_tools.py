"""Tool calls in text that comes in pieces."""

from __future__ import annotations

import json

import pytest

from hanji.serving.tools import Call, ToolCalls, defines_calls

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "<b>"}}\n</tool_call>'


def parsed(text: str, size: int, most: int = 9) -> tuple[str, list[tuple[str, object]]]:
    calls, found = ToolCalls(most), []
    for start in range(0, len(text), size):
        found += calls.push(text[start : start + size])
    found += calls.finish()
    assert [one for one in found if isinstance(one, Call)] == calls.calls
    assert len({call.id for call in calls.calls}) == len(calls.calls)
    text = "".join(one for one in found if isinstance(one, str))
    return text, [(call.name, json.loads(call.arguments)) for call in calls.calls]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_of_any_size_give_the_same(size: int) -> None:
    call = ("f", {"a": "<b>"})
    assert parsed("no call at all < <tool", size) == ("no call at all < <tool", [])
    assert parsed(f"Let me see.\n{CALL}", size) == ("Let me see.\n", [call])
    assert parsed(f"{CALL}\n{CALL}\n", size) == ("", [call, call])
    assert parsed(f"{CALL}\n{CALL}", size, most=1) == ("", [call])
    assert parsed("<tool_call>no JSON</tool_call> then", size) == ("<tool_call>no JSON</tool_call> then", [])
    assert parsed('<tool_call>{"name": 5}</tool_call>', size) == ('<tool_call>{"name": 5}</tool_call>', [])
    assert parsed('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', size)[1] == [
        ("f", {"a": 1})
    ]
    assert parsed('<tool_call>{"name": "f"}', size) == ("", [("f", {})])
    assert parsed('<tool_call>{"name": "f', size) == ('<tool_call>{"name": "f', [])
    deep = "<tool_call>" + "[" * 5000 + "</tool_call>"
    assert parsed(deep, 997 + size) == (deep, [])


def test_which_templates_define_calls() -> None:
    assert defines_calls("... <tool_call> ...")
    assert not defines_calls("... [TOOL_CALLS] ...")
    assert not defines_calls(None)
