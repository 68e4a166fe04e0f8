"""Answers of a given form, from a model with random weights that would say anything."""

import json
import re
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hanji.contracts.errors import ConfigError
from hanji.generation import Engine, Request, Sampling, constraints
from hanji.generation.requests import ConstraintError
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = ['{"name": "한지", "age": 42}', "Paper is made by hand.", "종이를 손으로 만든다."] * 20
    return train_tokenizer(texts, algorithm="bpe", vocab_size=400)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Any:
    torch.manual_seed(0)
    more = 16  # logits that no token has
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.vocabulary_size + more, hidden_size=32, intermediate_size=48,
            num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=512,
        )
    ).eval()  # fmt: skip


def answers(model: Any, tokenizer: Tokenizer, make: Any, count: int = 6) -> list[str]:
    requests = [
        Request(
            prompt=tokenizer.encode_prompt("Paper"), constraint=make(), max_new_tokens=200,
            sampling=Sampling(temperature=1.5, seed=seed),
        )
        for seed in range(count)
    ]  # fmt: skip
    with Engine(model, tokenizer, slots=3) as engine:
        found = engine.run(requests)
    assert {answer.finish_reason for answer in found} == {"stop"}
    return [answer.text for answer in found]


def test_json_is_of_the_schema(model: Any, tokenizer: Tokenizer) -> None:
    found = [
        json.loads(text)
        for text in answers(model, tokenizer, lambda: constraints.json_schema(tokenizer, PERSON))
    ]
    for person in found:
        assert set(person) == {"name", "age"}
        assert len(person["name"]) <= 8
        assert person["age"] <= 99
    assert len({str(person) for person in found}) > 1


def test_a_regular_expression_is_matched_whole(model: Any, tokenizer: Tokenizer) -> None:
    pattern = r"(종이|한지) [0-9]{2,4}"
    found = answers(model, tokenizer, lambda: constraints.regex(tokenizer, pattern))
    assert all(re.fullmatch(pattern, text) for text in found)


def test_a_grammar_is_followed(model: Any, tokenizer: Tokenizer) -> None:
    grammar = 'start: "yes" | "no" | "아니오"'
    found = answers(model, tokenizer, lambda: constraints.lark(tokenizer, grammar))
    assert set(found) <= {"yes", "no", "아니오"}


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"type": "string", "pattern": "("}])
def test_a_schema_that_cannot_be_followed_is_refused(tokenizer: Tokenizer, schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="schema"):
        constraints.json_schema(tokenizer, schema)


def test_a_grammar_may_be_written_as_gbnf(model: Any, tokenizer: Tokenizer) -> None:
    grammar = 'root ::= paper " " [0-9]{2}\npaper ::= "종이" | "한지"'
    found = answers(
        model, tokenizer, lambda: constraints.lark(tokenizer, constraints.lark_of(grammar)), count=3
    )
    assert all(re.fullmatch("(종이|한지) [0-9]{2}", text) for text in found)
    assert constraints.lark_of('start: "root ::= x"') == 'start: "root ::= x"'
    with pytest.raises(ConfigError, match="GBNF"):
        constraints.lark_of("root ::= nothing")


def test_a_regular_expression_as_a_grammar_allows_the_same(model: Any, tokenizer: Tokenizer) -> None:
    pattern = r"a/b\\[/\d]{3}" + "\n[^/]"
    by_regex = answers(model, tokenizer, lambda: constraints.regex(tokenizer, pattern), count=3)
    lark = constraints.lark_of_regex(pattern)
    assert answers(model, tokenizer, lambda: constraints.lark(tokenizer, lark), count=3) == by_regex


@pytest.mark.parametrize(("pattern", "why"), [("(", "unclosed group"), (r"[^\s\S]", "regex")])
def test_a_pattern_that_nothing_matches_says_why(tokenizer: Tokenizer, pattern: str, why: str) -> None:
    with pytest.raises(ConstraintError, match=why):
        constraints.regex(tokenizer, pattern).allowed()
