"""Embeddings, labels and scores, held against the models themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
import torch
from openai import OpenAI
from transformers import BertConfig, BertForMaskedLM, LlamaForSequenceClassification

from hanji.contracts.labels import Labels
from hanji.serving.models import Models
from hanji.serving.reading import pooled
from hanji.serving.service import Service
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer
from serving.running import Running, Trained, running, starting

TEXTS = ["Paper", "한지는 닥나무 종이입니다", "one two three four five six seven " * 3]


def bert_of(tokenizer: Tokenizer) -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.vocabulary_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128, pad_token_id=tokenizer.pad_id,
    )  # fmt: skip
    return BertForMaskedLM(config).eval()


def classifier_of(trained: Trained, labels: dict[str, Any]) -> Any:
    torch.manual_seed(1)
    config = type(trained.model.config)(**{**trained.model.config.to_dict(), **labels})
    return LlamaForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    corpus = [*TEXTS, "small letters and words"] * 4
    return train_tokenizer(
        iter(corpus), algorithm="wordpiece", vocab_size=200, special_tokens=[], min_frequency=2
    )


@pytest.fixture(scope="module")
def readers(trained: Trained, words: Tokenizer) -> Iterator[Running]:
    """An encoder, the chat model, a classifier and a reward model, in one service."""
    classes = Labels("classes", ("bad", "good")).config_fields()
    reward = {**Labels("number").config_fields(), "id2label": {0: "reward"}, "label2id": {"reward": 0}}
    encoder = bert_of(words)
    classify, score = classifier_of(trained, classes), classifier_of(trained, reward)
    starts = {
        "encoder": starting(encoder, words, "masked", name="encoder"),
        "first": starting(encoder, words, "masked", name="first", pooling="cls"),
        "tiny": starting(trained.model, trained.tokenizer, slots=2),
        "labels": starting(classify, trained.tokenizer, "classification", name="labels"),
        "judge": starting(score, trained.tokenizer, "classification", name="judge"),
    }
    with running(Service(Models(starts))) as one:
        yield one


@pytest.fixture(scope="module")
def reading(readers: Running) -> OpenAI:
    return readers.client()


def test_embeddings_are_the_models_hidden_states(reading: OpenAI, trained: Trained, words: Tokenizer) -> None:
    encoder = bert_of(words)
    for name, model in (("encoder", encoder), ("first", encoder), ("tiny", trained.model)):
        answer = reading.embeddings.create(model=name, input=TEXTS)
        assert [one.index for one in answer.data] == [0, 1, 2]
        for text, one in zip(TEXTS, answer.data, strict=True):
            ids = words.hf(text).input_ids if name != "tiny" else trained.tokenizer.encode_prompt(text)
            with torch.no_grad():
                states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
            expected = {"encoder": states.mean(0), "first": states[0], "tiny": states[-1]}[name]
            expected = torch.nn.functional.normalize(expected, dim=-1)
            np.testing.assert_allclose(one.embedding, expected, atol=2e-5)
        floats = reading.embeddings.create(model=name, input=TEXTS[0], encoding_format="float")
        np.testing.assert_allclose(floats.data[0].embedding, answer.data[0].embedding, atol=1e-5)
    card = reading.models.retrieve("first").model_dump()
    assert card["embedding"] == {"pooling": "cls", "dimensions": 32, "normalized": True}
    assert reading.models.retrieve("tiny").model_dump()["embedding"]["pooling"] == "last"


def test_ids_are_embedded_as_they_are(reading: OpenAI, trained: Trained) -> None:
    ids = trained.tokenizer.encode_prompt(TEXTS[1])
    by_text = reading.embeddings.create(model="tiny", input=TEXTS[1])
    by_ids = reading.embeddings.create(model="tiny", input=[ids])
    assert by_ids.data[0].embedding == by_text.data[0].embedding
    assert by_ids.usage.prompt_tokens == len(ids)


def test_a_model_embeds_while_it_answers(reading: OpenAI, readers: Running) -> None:
    before = reading.embeddings.create(model="tiny", input=TEXTS[0]).data[0].embedding
    messages: Any = [{"role": "user", "content": "Count."}]
    settings: Any = {"max_tokens": 60, "temperature": 0, "extra_body": {"ignore_eos": True}}
    expected = reading.chat.completions.create(model="tiny", messages=messages, **settings)
    stream = reading.chat.completions.create(model="tiny", messages=messages, stream=True, **settings)
    text = ""
    for number, chunk in enumerate(stream):
        text += chunk.choices[0].delta.content or ""
        if number == 3:
            assert reading.embeddings.create(model="tiny", input=TEXTS[0]).data[0].embedding == before
    assert text == expected.choices[0].message.content


def test_pooling_leaves_out_padding_and_virtual_tokens() -> None:
    states = torch.arange(2 * 4 * 1).float().view(2, 4, 1)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    assert pooled(states, mask, 1, "mean").flatten().tolist() == [2.0, 5.5]
    assert pooled(states, mask, 1, "cls").flatten().tolist() == [1.0, 5.0]
    assert pooled(states, mask, 1, "last").flatten().tolist() == [3.0, 6.0]


def post(running: Running, path: str, **body: Any) -> httpx2.Response:
    return httpx2.post(f"{running.url}/v1/{path}", json=body, timeout=30)


def test_labels(readers: Running, trained: Trained) -> None:
    found = post(readers, "classify", model="labels", input=TEXTS[:2]).json()
    assert [one["index"] for one in found["data"]] == [0, 1]
    model = readers.service.models._served["labels"].loaded.model
    for text, one in zip(TEXTS, found["data"], strict=False):
        with torch.no_grad():
            logits = model(torch.tensor([trained.tokenizer.hf(text).input_ids])).logits[0]
        expected = dict(zip(("bad", "good"), logits.softmax(-1).tolist(), strict=True))
        assert one["label"] == max(expected, key=expected.__getitem__)
        assert {each["label"]: each["score"] for each in one["scores"]} == pytest.approx(expected, abs=1e-5)
    texts = ["a", "b " * 40, *TEXTS, "한지"]
    together = [
        one["scores"] for one in post(readers, "classify", model="labels", input=texts).json()["data"]
    ]
    for text, scores in zip(texts, together, strict=True):
        alone = post(readers, "classify", model="labels", input=text).json()["data"][0]["scores"]
        assert {one["label"]: one["score"] for one in scores} == pytest.approx(
            {one["label"]: one["score"] for one in alone}, abs=1e-5
        )
    pair = post(readers, "classify", model="labels", input="Paper", pair="one two").json()
    assert pair["data"][0]["score"] != found["data"][0]["score"]


def test_scores_of_a_reward_model(readers: Running, trained: Trained) -> None:
    answers = ["Paper", "one two"]
    found = post(readers, "score", model="judge", question="What is hanji?", answers=answers).json()
    model = readers.service.models._served["judge"].loaded.model
    for answer, one in zip(answers, found["data"], strict=True):
        chat = [{"role": "user", "content": "What is hanji?"}, {"role": "assistant", "content": answer}]
        ids = trained.tokenizer.encode_chat(chat).ids.tolist()
        with torch.no_grad():
            assert one["score"] == pytest.approx(float(model(torch.tensor([ids])).logits[0, 0]), abs=1e-5)
        by_chat = post(readers, "score", model="judge", messages=chat).json()
        assert by_chat["data"][0]["score"] == one["score"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("embeddings", {"model": "labels", "input": "x"}),
        ("embeddings", {"model": "encoder", "input": ["x"] * 300}),
        ("embeddings", {"model": "encoder", "input": []}),
        ("embeddings", {"model": "encoder", "input": "letters " * 500}),
        ("embeddings", {"model": "encoder", "input": "x", "dimensions": 5}),
        ("embeddings", {"model": "encoder", "input": [[10**6]]}),
        ("classify", {"model": "tiny", "input": "x"}),
        ("classify", {"model": "labels", "input": []}),
        ("classify", {"model": "labels", "input": "x " * 3000}),
        ("classify", {"model": "labels", "input": ["x", "y"], "pair": ["z"]}),
        ("score", {"model": "labels", "question": "x", "answers": "y"}),
        ("score", {"model": "judge", "question": "x"}),
        ("score", {"model": "judge", "messages": [{"role": "user", "content": "x"}]}),
        ("score", {"model": "judge", "question": "x", "answers": "y " * 3000}),
        ("chat/completions", {"model": "encoder", "messages": [{"role": "user", "content": "x"}]}),
        ("completions", {"model": "judge", "prompt": "x"}),
        ("tokenize", {"model": "tiny"}),
        ("tokenize", {"model": "tiny", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}),
        ("tokenize", {"model": "encoder", "messages": [{"role": "user", "content": "x"}]}),
        ("detokenize", {"model": "tiny", "tokens": [10**6]}),
    ],
)
def test_what_cannot_be_read(readers: Running, path: str, body: dict[str, Any]) -> None:
    refused = post(readers, path, **body)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["message"]


def test_tokens(readers: Running, trained: Trained) -> None:
    ids = trained.tokenizer.encode_prompt("한지 📄")
    found = post(readers, "tokenize", model="tiny", prompt="한지 📄").json()
    assert (found["tokens"], found["count"], found["context"]) == (ids, len(ids), 512)
    back = post(readers, "detokenize", model="tiny", tokens=ids).json()["prompt"]
    assert back == trained.tokenizer.decode(ids)
    framed = post(readers, "tokenize", model="encoder", prompt="Paper").json()
    assert framed["texts"][0] == "[CLS]"
    assert framed["texts"][-1] == "[SEP]"


def test_models_are_listed(reading: OpenAI) -> None:
    tasks = {model.id: model.model_dump()["tasks"] for model in reading.models.list()}
    assert tasks == {
        "encoder": ["embedding"], "first": ["embedding"], "tiny": ["chat", "completion", "embedding"],
        "labels": ["classify"], "judge": ["classify", "score"],
    }  # fmt: skip
    with pytest.raises(openai.NotFoundError):
        reading.models.retrieve("other")
