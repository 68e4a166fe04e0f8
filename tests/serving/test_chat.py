"""Chats by the official client: whole and streamed, and each field that it can send."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest
import torch
from openai import OpenAI

from hanji.serving import runner
from serving.running import KNOWN, WEATHER, Running, Trained

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


@pytest.mark.parametrize(("held", "least", "most"), [(0.0, 11, 100), (600.0, 2, 3)])
def test_pieces_of_a_stream_are_the_answer(
    client: OpenAI, monkeypatch: pytest.MonkeyPatch, held: float, least: int, most: int
) -> None:
    for name in ("SHORTEST_HELD", "LONGEST_HELD"):
        monkeypatch.setattr(runner, name, held)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    *told, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == KNOWN[QUESTION]
    assert told[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in told][-2:] == [None, "stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.usage for chunk in told} == {None}
    assert (last.choices, last.usage) == ([], ask(client).usage.model_copy(update=last.usage.__dict__))
    pieces = [chunk for chunk in told if chunk.choices[0].delta.content]
    assert least <= len(pieces) <= most  # held back: the first text, what came after it, and the end


def test_probabilities_are_of_the_tokens_of_the_text(client: OpenAI, trained: Trained) -> None:
    answer = ask(client, logprobs=True, top_logprobs=3)
    told = answer.choices[0].logprobs.content
    assert b"".join(bytes(one.bytes) for one in told).decode() == KNOWN[QUESTION]
    prompt = trained.tokenizer.encode_chat(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True
    ).ids.tolist()
    written = trained.tokenizer.encode_texts([KNOWN[QUESTION]])[0].tolist()
    with torch.no_grad():
        table = (
            trained.model(torch.tensor([[*prompt, *written]])).logits[0, len(prompt) - 1 :].log_softmax(-1)
        )
    for one, row, token in zip(told, table, written, strict=False):
        assert one.logprob == pytest.approx(float(row[token]), abs=1e-4)
        assert one.top_logprobs[0].logprob == pytest.approx(float(row.max()), abs=1e-4)
        assert len(one.top_logprobs) == 3
    streamed = [
        one
        for chunk in ask(client, logprobs=True, top_logprobs=3, stream=True)
        for one in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert streamed == told


def test_a_stop_string_is_leaked_neither_as_text_nor_as_a_token(client: OpenAI) -> None:
    for stream in (False, True):
        stop = ["five", "e f"]
        answer = ask(client, "Count.", stop=stop, logprobs=True, stream=stream)
        parts = answer if stream else [answer]
        told, text, finish = [], "", None
        for part in parts:
            (choice,) = part.choices
            text += (choice.delta.content or "") if stream else choice.message.content
            told += choice.logprobs.content if choice.logprobs else []
            finish = choice.finish_reason or finish
        assert text == "one two thre"
        assert finish == "stop"
        assert text.startswith("".join(one.token for one in told[:-1]))
        assert "fi" not in "".join(one.token for one in told)


def test_many_choices_with_seeds(client: OpenAI) -> None:
    settings = {"n": 3, "temperature": 2.0, "seed": 7, "max_tokens": 12}
    first, second = ask(client, **settings), ask(client, **settings)
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert texts == [choice.message.content for choice in second.choices]
    streamed = ["", "", ""]
    for chunk in ask(client, stream=True, **settings):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts
    assert texts != [choice.message.content for choice in ask(client, **{**settings, "seed": 8}).choices]


def test_lengths_biases_and_answers_that_may_not_end(client: OpenAI, trained: Trained) -> None:
    short = ask(client, max_tokens=3)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 3)
    newer = ask(client, max_tokens=openai.NOT_GIVEN, max_completion_tokens=3)
    assert newer.choices[0].message.content == short.choices[0].message.content
    token = trained.tokenizer.encode_texts(["!"])[0].tolist()[0]
    biased = ask(client, logit_bias={str(token): 100}, max_tokens=4)
    assert biased.choices[0].message.content == trained.tokenizer.decode([token]) * 4
    endless = ask(client, max_tokens=50, extra_body={"ignore_eos": True})
    assert (endless.choices[0].finish_reason, endless.usage.completion_tokens) == ("length", 50)
    drawn = ask(client, temperature=2, seed=1, extra_body={"top_k": 1})
    assert drawn.choices[0].message.content == KNOWN[QUESTION]


def test_a_tool_is_offered_and_its_call_is_parsed(client: OpenAI) -> None:
    answer = ask(client, "Weather in Seoul?", tools=[WEATHER])
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert (call.type, call.function.name, call.function.arguments) == (
        "function",
        "weather",
        '{"city": "서울"}',
    )
    chunks = list(ask(client, "Weather in Seoul?", tools=[WEATHER], stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert [(call.index, call.function.arguments) for call in calls] == [(0, '{"city": "서울"}')]
    assert not any(chunk.choices[0].delta.content for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    untold = ask(client, tools=[WEATHER], tool_choice="none")
    assert untold.choices[0].message.content == KNOWN[QUESTION]


def test_an_answer_may_be_sent_back_as_it_came(client: OpenAI) -> None:
    first = ask(client, "Weather in Seoul?", tools=[WEATHER]).choices[0].message
    history = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Weather in "}, {"type": "text", "text": "Seoul?"}],
        },
        first.model_dump(),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"},
    ]
    answer = client.chat.completions.create(model="tiny", messages=history, tools=[WEATHER], max_tokens=4)
    assert answer.choices[0].finish_reason in ("length", "stop", "tool_calls")


def test_ids_of_a_served_chat_are_those_of_training(tiny: Running, trained: Trained) -> None:
    """Training sees the chat and its answer; what is served is the same up to the answer."""
    chat = [
        {"role": "system", "content": "짧게 <|im_end|> answer."},
        {"role": "user", "content": "Count.\n"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": " 한지? 📄"},
    ]
    answer = {"role": "assistant", "content": "Paper"}
    rows = trained.tokenizer.encode_chat([*chat, answer])
    start = max(i for i in range(1, len(rows.ids)) if rows.trained[i] and not rows.trained[i - 1])
    sent = httpx2.post(f"{tiny.url}/v1/tokenize", json={"model": "tiny", "messages": chat}).json()
    assert sent["tokens"] == rows.ids[:start].tolist()
    served = tiny.client().chat.completions.create(model="tiny", messages=chat, max_tokens=1)  # type: ignore[arg-type]
    assert served.usage.prompt_tokens == start
