"""Answers that keep to a schema, by the official client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import OpenAI

pytest.importorskip("llguidance", reason="the extra `constraints` is not installed")

SCHEMA = {
    "type": "object",
    "properties": {"count": {"type": "integer"}, "word": {"enum": ["one", "two"]}},
    "required": ["count", "word"],
    "additionalProperties": False,
}


def ask(client: OpenAI, response_format: Any, **fields: Any) -> Any:
    messages: Any = [{"role": "user", "content": "Count."}]
    settings: Any = {"temperature": 1, "seed": 3, "max_tokens": 200, **fields}
    return client.chat.completions.create(
        model="tiny", messages=messages, response_format=response_format, **settings
    )


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {
        "type": "object", "properties": properties, "required": list(properties),
        "additionalProperties": False,
    }  # fmt: skip
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("dice", sides={"enum": [6, 20]}), tool("say", word={"enum": ["one", "둘"]})]


@pytest.mark.parametrize(
    ("choice", "parallel", "names"),
    [
        ("required", False, {"dice", "say"}),
        ({"type": "function", "function": {"name": "dice"}}, None, {"dice"}),
        ({"type": "function", "function": {"name": "say"}}, None, {"say"}),
    ],
)
def test_a_call_is_forced(client: OpenAI, choice: Any, parallel: bool | None, names: set[str]) -> None:
    """The model answers "Count." with numbers, and was never offered these tools."""
    fields: dict[str, Any] = {"tools": TOOLS, "tool_choice": choice, "n": 3}
    if parallel is not None:
        fields["parallel_tool_calls"] = parallel
    answer = ask(client, openai.omit, **fields)
    for one in answer.choices:
        assert (one.finish_reason, one.message.content) == ("tool_calls", None)
        (call,) = one.message.tool_calls
        assert call.function.name in names
        said = json.loads(call.function.arguments)
        assert said in ({"sides": 6}, {"sides": 20}, {"word": "one"}, {"word": "둘"})
    chunks = list(ask(client, openai.omit, **{**fields, "n": 1}, stream=True))
    calls = [call.function for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert [(call.name, call.arguments) for call in calls] == [
        (call.function.name, call.function.arguments) for call in answer.choices[0].message.tool_calls
    ]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "cards"}}}, "'cards'"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [tool("f", a={"type": "no-such-type"})]}, "no-such-type"),
    ],
)
def test_calls_that_cannot_be_forced_are_refused(client: OpenAI, fields: dict[str, Any], named: str) -> None:
    settings: dict[str, Any] = {"response_format": openai.omit, "tools": TOOLS, "tool_choice": "required"}
    with pytest.raises(openai.BadRequestError, match=named):
        ask(client, **{**settings, **fields})


def test_every_choice_keeps_to_the_schema(client: OpenAI) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "count", "schema": SCHEMA, "strict": True}}
    answer = ask(client, wanted, n=3)
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        said = json.loads(choice.message.content)
        assert set(said) == {"count", "word"}
        assert isinstance(said["count"], int)
        assert said["word"] in ("one", "two")
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in ask(client, wanted, stream=True))
    assert streamed == answer.choices[0].message.content


def test_text_is_any_text(client: OpenAI) -> None:
    free = ask(client, {"type": "text"}, temperature=0).choices[0].message.content
    assert free == ask(client, openai.NOT_GIVEN, temperature=0).choices[0].message.content


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def chain(links: int) -> dict[str, Any]:
    """References from one definition to the next: followed on the stack, they would end the service."""
    definitions: dict[str, Any] = {
        str(link): {"type": "object", "properties": {"a": {"$ref": f"#/$defs/{link + 1}"}}}
        for link in range(links)
    }
    return {"$ref": "#/$defs/0", "$defs": {**definitions, str(links): {"type": "string"}}}


@pytest.mark.parametrize(
    "schema", [{"type": "nothing"}, {"$ref": "#/nowhere"}, deep(40), deep(90), chain(400), chain(9000)]
)
def test_schemas_that_cannot_be_kept_to(client: OpenAI, schema: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert refused.value.param in ("response_format.json_schema.schema", None)
