"""Chats by the official client: whole and streamed, and each field that it can send."""

from __future__ import annotations

from typing import Any

from openai import OpenAI

from serving.running import KNOWN, Trained

QUESTION = "What is hanji?"


def ask(client: OpenAI, question: str = QUESTION, **fields: Any) -> Any:
    settings = {"temperature": 0, "max_tokens": 60, **fields}
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="tiny", messages=messages, **settings)  # type: ignore[arg-type]


def test_a_chat_is_answered_as_it_was_learnt(client: OpenAI, trained: Trained) -> None:
    for question in (QUESTION, "Count."):
        answer = ask(client, question)
        (choice,) = answer.choices
        assert (choice.message.role, choice.message.content) == ("assistant", KNOWN[question])
        assert choice.finish_reason == "stop"
        prompt = trained.tokenizer.encode_chat(
            [{"role": "user", "content": question}], add_generation_prompt=True
        )
        assert answer.usage.prompt_tokens == len(prompt.ids)
        written = trained.tokenizer.encode_texts([KNOWN[question]])[0]
        assert answer.usage.completion_tokens == len(written) + 1  # the end of the turn
        assert answer.id.startswith("chatcmpl-")
        assert answer.system_fingerprint == "test/tiny/0000"


def test_pieces_of_a_stream_are_the_answer(client: OpenAI) -> None:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    *told, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == KNOWN[QUESTION]
    assert told[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in told][-2:] == [None, "stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.usage for chunk in told} == {None}
    assert (last.choices, last.usage) == ([], ask(client).usage.model_copy(update=last.usage.__dict__))
    assert len(told) > 10
