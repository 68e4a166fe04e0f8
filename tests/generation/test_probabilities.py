import pytest
import torch

from hanji.contracts.errors import ConfigError
from hanji.generation import next_token_probabilities


def test_the_probabilities_are_the_softmax_of_the_last_logits(model, tokenizer):
    found = next_token_probabilities(model, tokenizer, "The cat", top=tokenizer.vocabulary_size)
    with torch.no_grad():
        expected = model.eval()(torch.tensor([list(b"The cat")])).logits[0, -1].double().softmax(-1)
    assert sum(token.probability for token in found) == pytest.approx(1, abs=1e-5)
    assert [token.probability for token in found] == sorted(
        (token.probability for token in found), reverse=True
    )
    for token in found:
        assert token.probability == pytest.approx(float(expected[token.id]), abs=1e-6)


def test_a_token_is_shown_as_it_reads_after_the_prompt(model, tokenizer):
    for token in next_token_probabilities(model, tokenizer, "The cat", top=tokenizer.vocabulary_size):
        if token.id < 128:
            assert token.text == chr(token.id)


def test_a_text_that_ends_in_blanks_is_taken_as_it_is(model, tokenizer):
    assert next_token_probabilities(model, tokenizer, "The ") != next_token_probabilities(
        model, tokenizer, "The"
    )


def test_less_than_one_token_is_refused(model, tokenizer):
    with pytest.raises(ConfigError, match="top"):
        next_token_probabilities(model, tokenizer, "The", top=0)
