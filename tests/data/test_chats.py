"""Chats in every known format become the same messages; what is malformed names its field."""

from typing import Any

import pytest

from hanji.contracts.errors import ConfigError
from hanji.data.kinds.chat import ChatRow
from hanji.data.kinds.text import TextRow
from hanji.data.records import RowProblem
from hanji.data.rows import ROW_FORMATS, RowMaker

ASK = {"role": "user", "content": "What is hanji?"}
ANSWER = {"role": "assistant", "content": "Korean paper."}
SYSTEM = {"role": "system", "content": "Be brief."}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "서울"}}}

SAMPLES: dict[str, Any] = {
    "messages": {"messages": [SYSTEM, ASK, ANSWER]},
    "sharegpt": {
        "system": "Be brief.",
        "conversations": [
            {"from": "human", "value": "What is hanji?"},
            {"from": "gpt", "value": "Korean paper."},
        ],
    },
    "alpaca": {
        "instruction": "What is hanji?",
        "input": "",
        "output": "Korean paper.",
        "system": "Be brief.",
    },
    "prompt-completion": {"prompt": "What is hanji?", "completion": "Korean paper.", "system": "Be brief."},
    "question-answer": {"question": "What is hanji?", "answer": "Korean paper.", "system": "Be brief."},
}


def _row(value: Any, row_format: str = "auto", **columns: str) -> ChatRow:
    row = RowMaker(row_format, columns, None).row(value, "file")
    assert isinstance(row, ChatRow)
    return row


@pytest.mark.parametrize("name", [name for name, found in ROW_FORMATS.items() if found.kind == "chat"])
def test_every_chat_format_is_recognised_and_gives_the_same_chat(name: str) -> None:
    maker = RowMaker("auto", {}, None)
    assert list(maker.row(SAMPLES[name], "file").messages) == [SYSTEM, ASK, ANSWER]
    assert maker.row_formats == [name]
    assert list(_row(SAMPLES[name], name).messages) == [SYSTEM, ASK, ANSWER]


def test_columns_are_mapped() -> None:
    row = _row({"Q": "안녕?", "A": "안녕!", "label": "0"}, question="Q", answer="A")
    assert [message["content"] for message in row.messages] == ["안녕?", "안녕!"]
    text = RowMaker("auto", {}, "document").row({"document": "문서", "text": "not this"}, "file")
    assert text == TextRow("문서")
    with pytest.raises(RowProblem, match="no column 'Q'") as caught:
        _row({"q": "안녕?"}, question="Q", answer="A")
    assert caught.value.value == ["q"]
    with pytest.raises(ConfigError, match="did you mean question"):
        RowMaker("auto", {"questoin": "Q"}, None)


def test_each_file_of_a_source_has_its_own_format() -> None:
    maker = RowMaker("auto", {}, None)
    for name in SAMPLES:
        maker.row(SAMPLES[name], f"{name}.jsonl")
    assert maker.row_formats == sorted(SAMPLES)


def test_sharegpt_with_tool_calls() -> None:
    row = _row(
        {
            "conversations": [
                {"from": "human", "value": "Weather in Seoul?"},
                {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "서울"}}'},
                {"from": "observation", "value": '{"sky": "clear"}'},
                {"from": "gpt", "value": "Clear."},
            ],
            "tools": '[{"name": "weather", "parameters": {"type": "object"}}]',
        }
    )
    assert list(row.messages) == [
        {"role": "user", "content": "Weather in Seoul?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": '{"sky": "clear"}', "name": "weather"},
        {"role": "assistant", "content": "Clear."},
    ]
    assert row.tools == [TOOL]


def test_messages_with_tool_calls_as_openai_and_arrow_write_them() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "서울"}'}}
    row = _row(
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Weather?"}], "tool_calls": None},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": "clear", "tool_call_id": "c1", "name": None},
                {"role": "assistant", "content": "Clear.", "reasoning_content": "I looked.", "extra": 1},
            ],
            "tools": [TOOL],
        }
    )
    assert list(row.messages) == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", **CALL}]},
        {"role": "tool", "content": "clear", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Clear.", "reasoning_content": "I looked."},
    ]


def test_alpaca_input_and_history() -> None:
    value = {"instruction": "Mend it.", "input": "freind", "output": "friend", "history": [["Hi", "Hello"]]}
    contents = [message["content"] for message in _row(value).messages]
    assert contents == ["Hi", "Hello", "Mend it.\n\nfreind", "friend"]


def test_prompt_and_completion_as_messages() -> None:
    assert list(_row({"prompt": [SYSTEM, ASK], "completion": [ANSWER]}).messages) == [SYSTEM, ASK, ANSWER]


@pytest.mark.parametrize(
    ("value", "field", "problem"),
    [
        ({"messages": "hello"}, "messages", "not JSON"),
        ({"messages": {"role": "user"}}, "messages", "list of messages"),
        ({"messages": ["hello"]}, "messages[0]", "an object"),
        ({"messages": [ASK, {"role": "bot", "content": "x"}]}, "messages[1].role", "no such role"),
        ({"messages": [ASK, {"role": "assistant"}]}, "messages[1].content", "must be text"),
        ({"messages": [ASK, {"role": "assistant", "content": " "}]}, "messages[1].content", "empty"),
        ({"messages": [ASK]}, "messages", "nothing to learn"),
        ({"messages": [ANSWER, ASK]}, "messages[0].role", "speaks first"),
        ({"messages": [ASK, SYSTEM, ANSWER]}, "messages[1].role", "after the chat began"),
        ({"messages": [SYSTEM, ASK, ANSWER], "system": "x"}, "system", "twice"),
        ({"messages": [ASK, {"role": "tool", "content": "x"}, ANSWER]}, "messages[1].role", "not called"),
        (
            {"messages": [ASK, {"role": "user", "content": [{"type": "image_url"}]}, ANSWER]},
            "messages[1].content",
            "not text",
        ),
        (
            {"messages": [ASK, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}]},
            "messages[1].tool_calls[0].arguments",
            "not JSON",
        ),
        (
            {"messages": [ASK, {"role": "assistant", "tool_calls": [{"arguments": {}}]}]},
            "messages[1].tool_calls[0].name",
            "without a name",
        ),
        ({"messages": [ASK, ANSWER], "tools": "[{]"}, "tools", "not JSON"),
        ({"messages": [ASK, ANSWER], "tools": [{}]}, "tools[0]", "without a name"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "conversations[0].from", "no such speaker"),
        ({"conversations": [{"from": "human", "value": ""}]}, "conversations[0].value", "without text"),
        (
            {"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "f()"}]},
            "conversations[1].value",
            "not JSON",
        ),
        ({"instruction": "x", "output": ""}, "output", "empty"),
        ({"instruction": 3, "output": "y"}, "instruction", "must be text"),
        ({"instruction": "x", "output": "y", "history": [["a"]]}, "history[0]", "earlier turn"),
        ({"prompt": "x", "completion": None}, "completion", "no completion"),
        ({"Q": "x", "A": "y"}, "", "no format that is known"),
    ],
)
def test_a_malformed_record_names_its_field(value: Any, field: str, problem: str) -> None:
    with pytest.raises(RowProblem, match=problem) as caught:
        _row(value)
    assert caught.value.field == field
    assert caught.value.expected


def test_the_split_of_a_chat_depends_on_what_is_asked() -> None:
    one = _row({"question": "같은 질문", "answer": "하나"})
    other = _row({"question": "같은 질문", "answer": "둘"})
    assert one.split_key() == other.split_key()
    assert one.content() != other.content()
    assert one.split_key() != _row({"question": "다른 질문", "answer": "하나"}).split_key()
