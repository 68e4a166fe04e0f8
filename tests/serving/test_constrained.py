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


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"$ref": "#/nowhere"}, deep(40), deep(90)])
def test_schemas_that_cannot_be_kept_to(client: OpenAI, schema: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert refused.value.param in ("response_format.json_schema.schema", None)
