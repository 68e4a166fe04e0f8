"""Completions by the official client: texts and ids, echoes, probabilities, several prompts at once."""

from __future__ import annotations

from typing import Any

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
