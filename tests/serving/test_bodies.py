"""Bodies that cannot be: each is refused with the field's name, in OpenAI's shape, and with no 5xx."""

from __future__ import annotations

import json
import sys
from typing import Any

import httpx2
import pytest

from serving.running import Running

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Count."}], "max_tokens": 4}


def post(running: Running, content: bytes | str, path: str = "chat/completions") -> httpx2.Response:
    headers = {"Content-Type": "application/json"}
    return httpx2.post(f"{running.url}/v1/{path}", content=content, headers=headers, timeout=30)


def error_of(response: httpx2.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": "tinny"}, "model"),
        ({"model": 5}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "colour": 1}]}, "messages[0].colour"),
        ({"messages": [{"role": "user", "content": "x", "name": "Kim"}]}, "messages[0].name"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, None),
        ({"messages": [{"role": "user", "content": "x " * 600}]}, "messages"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 10**9}, "n"),
        ({"n": 100}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_completion_tokens": 5}, "max_tokens"),
        ({"stop": ["a"] * 1000}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": ["x" * 10_000]}, "stop[0]"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias.a"),
        ({"logit_bias": {"1": 1000}}, "logit_bias.1"),
        ({"stop_token_ids": [10**6]}, "stop_token_ids"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 99}, "top_logprobs"),
        ({"seed": 2**70}, "seed"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, None),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "x", "strict": True}}]}, None),
        ({"functions": [{}]}, "functions"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"store": True}, "store"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"temperatur": 1}, "temperatur"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    tiny: Running, changes: dict[str, Any], param: str | None
) -> None:
    unknown = changes.get("model") == "tinny"
    error = error_of(post(tiny, json.dumps({**CHAT, **changes})), 404 if unknown else 400)
    if param is not None:
        assert error["param"] == param
    assert error["type"] == ("not_found_error" if unknown else "invalid_request_error")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"{'model': 1}", b'{"model": "tiny"}', b"\xff\xfe{}",
        b'{"model": "tiny", "messages": [{"role": "user", "content": "\xff"}]}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
        b"[" * 100_000, b'{"model": "tiny", "tools": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"seed": ' + b"9" * 10_000 + b"}",
    ],
)  # fmt: skip
def test_bytes_that_are_no_body(tiny: Running, content: bytes) -> None:
    for path in ("chat/completions", "completions", "embeddings", "tokenize", "feedback"):
        error_of(post(tiny, content, path))


def chat(tiny: Running, status: int = 400, **changes: Any) -> dict[str, Any]:
    return error_of(post(tiny, json.dumps({**CHAT, **changes})), status)


def test_a_near_name_is_told(tiny: Running) -> None:
    assert "did you mean tiny?" in chat(tiny, 404, model="tinny")["message"]
    assert "did you mean `temperature`?" in chat(tiny, temperatur=1)["message"]
    assert chat(tiny, functions=[{}]) == {
        "message": "`functions` is not supported: use `tools`", "type": "invalid_request_error",
        "param": "functions", "code": "unsupported_parameter",
    }  # fmt: skip
    too_long = [{"role": "user", "content": "x " * 600}]
    assert chat(tiny, messages=too_long)["code"] == "context_length_exceeded"


def test_null_is_nothing_said(tiny: Running) -> None:
    fields = ["n", "stop", "seed", "tools", "logprobs", "temperature", "top_p", "user", "store", "functions"]
    assert post(tiny, json.dumps({**CHAT, **dict.fromkeys(fields)})).status_code == 200


def test_paths_and_methods_that_do_not_exist(tiny: Running) -> None:
    error_of(httpx2.get(f"{tiny.url}/v1/nothing"), 404)
    error_of(httpx2.get(f"{tiny.url}/v1/chat/completions"), 405)
    error_of(httpx2.get(f"{tiny.url}/v1/models/other"), 404)
    response = httpx2.post(
        f"{tiny.url}/v1/completions", content=b"{}", headers={"Content-Type": "text/plain"}
    )
    error_of(response, 415)


@pytest.mark.parametrize(
    ("param", "form"),
    [("response_format", {"type": "json_object"}), ("structured_outputs", {"choice": ["one"]})],
)
def test_a_format_that_needs_what_is_not_installed_says_so(
    tiny: Running, monkeypatch: pytest.MonkeyPatch, param: str, form: dict[str, Any]
) -> None:
    monkeypatch.setitem(sys.modules, "hanji.generation.constraints", None)
    error = error_of(post(tiny, json.dumps({**CHAT, param: form})))
    assert "pip install 'hanji[constraints]'" in error["message"]
    assert error["param"] == param
