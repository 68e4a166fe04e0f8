"""`structured_outputs`, as clients of vLLM send it with OpenAI's client; see also test_engines.py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from hanji.serving.models import Models
from hanji.serving.service import Service
from serving.running import WEATHER, Running, Trained, starting

pytest.importorskip("llguidance", reason="the extra `constraints` is not installed")

SCHEMA = {
    "type": "object", "properties": {"word": {"enum": ["one", "둘"]}}, "required": ["word"],
    "additionalProperties": False,
}  # fmt: skip


def ask(client: OpenAI, form: Any, **fields: Any) -> Any:
    settings: dict[str, Any] = {"temperature": 1, "seed": 3, "max_tokens": 100, **fields}
    return client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Count."}],
        extra_body={"structured_outputs": form}, **settings,
    )  # fmt: skip


def test_every_choice_keeps_to_the_form_streamed_or_not(client: OpenAI) -> None:
    answer = ask(client, {"regex": "[0-9]{3} (종이|📄)"}, n=3)
    said = [choice.message.content for choice in answer.choices]
    assert all(re.fullmatch("[0-9]{3} (종이|📄)", one) for one in said)
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    chunks = ask(client, {"regex": "[0-9]{3} (종이|📄)"}, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == said[0]


def test_nulls_are_nothing_said_and_a_schema_may_be_text(client: OpenAI) -> None:
    for schema in (SCHEMA, json.dumps(SCHEMA)):
        form = {"json": schema, "regex": None, "choice": None, "grammar": None}
        said = json.loads(ask(client, form).choices[0].message.content)
        assert said in ({"word": "one"}, {"word": "둘"})
    assert ask(client, None, temperature=0).choices[0].message.content.startswith("one two three")


def test_a_choice_may_begin_another_and_be_one_of_many(client: OpenAI) -> None:
    likely = {"choice": ["one two", "one", *map(str, range(1000))]}
    assert ask(client, likely, temperature=0).choices[0].message.content in ("one two", "one")
    assert ask(client, {"choice": ["1", "12", "123"]}).choices[0].message.content in ("1", "12", "123")


def test_a_form_goes_with_tools_that_are_not_forced_and_with_text(client: OpenAI) -> None:
    fields: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "auto", "response_format": {"type": "text"}}
    assert ask(client, {"choice": ["예"]}, **fields).choices[0].message.content == "예"


def refusal(client: OpenAI, form: Any, **fields: Any) -> tuple[str, str | None]:
    """What is said, and of which field; the same of completions where nothing else is asked."""
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, form, **fields)
    if not fields:
        with pytest.raises(openai.BadRequestError) as again:
            client.completions.create(model="tiny", prompt="x", extra_body={"structured_outputs": form})
        assert again.value.body == refused.value.body
    return refused.value.message, refused.value.param


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"regex": "a", "choice": ["a"]}, "exactly one of `json`, `regex`, `choice` and `grammar`"),
        ({"regexp": "a"}, "exactly one of `json`, `regex`, `choice` and `grammar`"),
        ({}, "exactly one of"),
        ({"regex": None}, "exactly one of"),
        ("a|b", "an object"),
    ],
)
def test_one_form_is_wanted(client: OpenAI, form: Any, told: str) -> None:
    message, param = refusal(client, form)
    assert told in message
    assert param == "structured_outputs"


def rules(count: int) -> str:
    lines = [f"a{number}: a{number + 1}" for number in range(count)]
    return "\n".join(["start: a0", *lines, f'a{count}: "x"'])


@pytest.mark.parametrize(
    ("form", "place", "told"),
    [
        ({"regex": "("}, "regex", "unclosed group"),
        ({"regex": r"\bword\b"}, "regex", "lookaround"),
        ({"regex": ""}, "regex", "at least 1 character"),
        ({"regex": "a" * 70_000}, "regex", "at most 65536 characters"),
        ({"regex": 5}, "regex", "string"),
        ({"regex": "(a{1000}){1000}"}, "regex", "too many expressions"),
        ({"choice": []}, "choice", "at least 1 item"),
        ({"choice": ["a"] * 1025}, "choice", "at most 1024 items"),
        ({"choice": ["a", ""]}, "choice[1]", "at least 1 character"),
        ({"choice": ["a" * 1025]}, "choice[0]", "at most 1024 characters"),
        ({"choice": [1]}, "choice[0]", "string"),
        ({"grammar": "start: a"}, "grammar", "unknown name"),
        ({"grammar": "root ::= a"}, "grammar", "'a' not found"),
        ({"grammar": "root ::= " + "(" * 900}, "grammar", "recursion"),
        ({"grammar": rules(5000)}, "grammar", "at most 1000 lines and brackets"),
        ({"grammar": "x" * 70_000}, "grammar", "at most 65536 characters"),
        ({"json": {"type": "nothing"}}, "json", "nothing"),
        ({"json": "{"}, "json", "no JSON"),
        ({"json": "[]"}, "json", "no JSON object"),
        ({"json": "[" * 60_000}, "json", "no JSON"),
        ({"json": True}, "json", "an object"),
        ({"json": '{"minimum": NaN}'}, "json", "schema"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_forms_that_cannot_be_kept_to(client: OpenAI, form: Any, place: str, told: str) -> None:
    message, param = refusal(client, form)
    assert told in message
    assert param == f"structured_outputs.{place}"
    assert len(message) < 600


@pytest.mark.parametrize(
    ("fields", "other"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}, "response_format"),
        ({"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
            "tool_choice",
        ),
    ],
)
def test_one_form_at_a_time(client: OpenAI, fields: dict[str, Any], other: str) -> None:
    message, param = refusal(client, {"choice": ["예"]}, **fields)
    assert f"`{other}`" in message
    assert param == "structured_outputs"


def test_a_form_that_comes_to_a_limit_on_the_way_is_the_clients(
    trained: Trained, serve: Callable[[Service], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the service's: whoever asked is told why."""
    from hanji.generation.constraints import GrammarConstraint
    from hanji.generation.requests import ConstraintError

    def limited(_: GrammarConstraint) -> Any:
        raise ConstraintError("this regex cannot be followed", hint="too many states")

    client = serve(Service(Models({"tiny": starting(trained.model, trained.tokenizer)}))).client()
    monkeypatch.setattr(GrammarConstraint, "allowed", limited)
    message, param = refusal(client, {"regex": "a+"})
    assert "this regex cannot be followed; too many states" in message
    assert param == "structured_outputs.regex"


def test_the_document_describes_it(tiny: Running) -> None:
    paths = httpx2.get(f"{tiny.url}/openapi.json").json()["paths"]
    for path in ("/v1/chat/completions", "/v1/completions"):
        body = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        described, nothing = body["properties"]["structured_outputs"]["anyOf"]
        assert nothing == {"type": "null"}
        assert set(described["properties"]) == {"json", "regex", "choice", "grammar"}
        assert described["additionalProperties"] is False
        assert "exactly one" in described["description"]
