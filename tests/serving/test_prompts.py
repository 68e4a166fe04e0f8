"""The ids of a served chat are those that training built for it, whatever the template."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from hanji.data.chats.messages import from_messages
from hanji.serving.bodies.chat import ChatBody
from hanji.serving.errors import ApiError
from hanji.serving.prompts import chat_ids
from hanji.tokenizers.tokenizer import Tokenizer

TEMPLATES = Path(__file__).parents[1] / "tokenizers" / "templates"
CALL = {
    "id": "call_1", "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "서울", "days": 2}'},
}  # fmt: skip
TOOL = {"type": "function", "function": {"name": "weather", "description": "outside", "parameters": {}}}
CHATS: dict[str, list[dict[str, Any]]] = {
    "plain": [{"role": "user", "content": "한지? 📄"}],
    "long": [
        {"role": "system", "content": " Answer <|im_end|> shortly.\n"},
        {"role": "user", "content": "Count."},
        {"role": "assistant", "content": "one two"},
        {"role": "user", "content": [{"type": "text", "text": part} for part in ("<|im_start|>on, ", "on")]},
    ],
    "tools": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ],
}


def sent(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> ChatBody:
    return ChatBody.model_validate({"model": "x", "messages": messages, "tools": tools})


def check(tokenizer: Tokenizer, chats: dict[str, list[dict[str, Any]]]) -> None:
    for name, messages in chats.items():
        tools = [TOOL] if name == "tools" else None
        answer = {"role": "assistant", "content": "three"}
        row, offered = from_messages({"messages": [*messages, answer], "tools": tools})
        trained = tokenizer.encode_chat(row, tools=offered)
        start = max(
            i for i in range(1, len(trained.ids)) if trained.trained[i] and not trained.trained[i - 1]
        )
        body = sent(messages, tools)
        assert chat_ids(tokenizer, body.messages, body.tools or ()) == trained.ids[:start].tolist(), name


def test_blank_chatml(tokenizer: Tokenizer) -> None:
    check(tokenizer, CHATS)


@pytest.mark.parametrize("template", ["chatml", "qwen"])
def test_templates_without_generation_marks(tokenizer: Tokenizer, template: str) -> None:
    text = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    assert "generation %}" not in text
    own = deepcopy(tokenizer.hf)
    own.chat_template = text
    check(Tokenizer(own), CHATS if template == "qwen" else {name: CHATS[name] for name in ("plain", "long")})


def test_smollm2(smollm2_gguf: Path) -> None:
    check(Tokenizer.load(smollm2_gguf), {name: CHATS[name] for name in ("plain", "long")})


def test_a_developer_is_the_system_where_the_template_knows_only_that(tokenizer: Tokenizer) -> None:
    both = [
        chat_ids(
            tokenizer,
            sent([{"role": role, "content": "Be kind."}, {"role": "user", "content": "x"}], None).messages,
            (),
        )
        for role in ("developer", "system")
    ]
    assert both[0] == both[1]


def test_tools_for_a_template_that_knows_none_are_refused(tokenizer: Tokenizer) -> None:
    own = deepcopy(tokenizer.hf)
    own.chat_template = (TEMPLATES / "chatml.jinja").read_text(encoding="utf-8")
    body = sent(CHATS["plain"], [TOOL])
    with pytest.raises(ApiError, match="template knows none") as refused:
        chat_ids(Tokenizer(own), body.messages, body.tools or ())
    assert (refused.value.status, refused.value.param) == (400, "tools")
