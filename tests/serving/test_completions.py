"""Completions by the official client: texts and ids, echoes, probabilities, several prompts at once."""

from __future__ import annotations

from typing import Any

import openai
import pytest
import torch
from openai import OpenAI

from serving.running import Trained

START = "one two three"


def complete(client: OpenAI, prompt: Any = START, **fields: Any) -> Any:
    return client.completions.create(
        model="tiny", prompt=prompt, **{"temperature": 0, "max_tokens": 8, **fields}
    )


def table_of(trained: Trained, ids: list[int]) -> torch.Tensor:
    """[tokens, vocabulary] log-probabilities, from the model itself."""
    with torch.no_grad():
        return trained.model(torch.tensor([ids])).logits[0].log_softmax(-1)


def test_texts_and_their_ids_are_the_same_prompt(client: OpenAI, trained: Trained) -> None:
    ids = trained.tokenizer.encode_prompt(START)
    expected = trained.model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=8, do_sample=False,
        eos_token_id=trained.tokenizer.eos_ids,
    )[0, len(ids) :].tolist()  # fmt: skip
    text = trained.tokenizer.decode(expected, skip_special_tokens=True)
    for prompt in (START, [START], ids, [ids]):
        answer = complete(client, prompt)
        assert [choice.text for choice in answer.choices] == [text]
        assert answer.usage.prompt_tokens == len(ids)
    assert "".join(chunk.choices[0].text for chunk in complete(client, stream=True)) == text


def test_an_echo_has_the_probabilities_of_the_prompt(client: OpenAI, trained: Trained) -> None:
    ids = trained.tokenizer.encode_prompt("한지는 닥나무 one two")
    for most in (0, 3):
        (choice,) = complete(client, ids, echo=True, logprobs=2, max_tokens=most).choices
        told = choice.logprobs
        assert len(told.tokens) == len(ids) + most
        assert choice.text.startswith("한지는 닥나무 one two")
        assert told.token_logprobs[0] is None
        assert told.top_logprobs[0] is None
        table = table_of(trained, ids)
        for place in range(1, len(ids)):
            expected = table[place - 1]
            assert told.token_logprobs[place] == pytest.approx(float(expected[ids[place]]), abs=1e-4)
            assert max(told.top_logprobs[place].values()) == pytest.approx(float(expected.max()), abs=1e-4)
        for offset, token in list(zip(told.text_offset, told.tokens, strict=True))[1:]:
            assert token.startswith("bytes:") or choice.text[offset:].startswith(token)
    assert choice.finish_reason == "length"
    plain = complete(client, ids, max_tokens=3).choices[0].text
    assert choice.text == "한지는 닥나무 one two" + plain


def test_prompts_and_choices_keep_their_order(client: OpenAI) -> None:
    prompts = [START, "What is", "Paper made"]
    alone = [complete(client, prompt).choices[0].text for prompt in prompts]
    together = complete(client, prompts, n=2).choices
    assert [choice.index for choice in together] == list(range(6))
    assert [choice.text for choice in together] == [text for text in alone for _ in range(2)]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt[0]"),
        ({"prompt": [999_999]}, "prompt"),
        ({"stop": ["a", 5]}, "stop[1]"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [5] * 512}, "prompt"),
        ({"prompt": ["a"] * 40, "n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
    ],
)
def test_completions_that_cannot_be(client: OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        complete(client, **{"prompt": START, **fields})
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
