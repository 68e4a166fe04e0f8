import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanji.contracts.errors import ConfigError, ModelError
from hanji.generation import generate, stream
from hanji.generation.text import TextPieces


def pieces_of(ids, tokenizer):
    pieces = TextPieces(tokenizer)
    return [piece for piece in [*(pieces.push(token) for token in ids), pieces.finish()] if piece]


@given(st.text())
def test_no_piece_shows_half_a_character(tokenizer, text):
    pieces = pieces_of(text.encode(), tokenizer)
    assert "".join(pieces) == text
    assert "�" not in "".join(pieces) or "�" in text


@given(st.lists(st.integers(0, 257)))
def test_any_tokens_join_to_what_decoding_them_at_once_gives(tokenizer, ids):
    assert "".join(pieces_of(ids, tokenizer)) == tokenizer.decode(ids, skip_special_tokens=True)


def test_a_hangul_syllable_comes_when_its_last_byte_has_come(tokenizer):
    assert pieces_of("한 👍".encode(), tokenizer) == ["한", " ", "👍"]


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_the_pieces_join_to_the_text_of_generate(model, tokenizer, temperature):
    prompt = list(b"The cat")
    settings = {"max_new_tokens": 24, "temperature": temperature, "seed": 5}
    pieces = list(stream(model, tokenizer, prompt, **settings))
    assert "".join(pieces) == generate(model, tokenizer, [prompt], **settings)[0].text


def test_the_stream_returns_why_it_ended(model, tokenizer):
    def reason(stop_ids):
        pieces = stream(model, tokenizer, list(b"The cat"), max_new_tokens=6, stop_ids=stop_ids)
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                return end.value

    first = generate(model, tokenizer, [list(b"The cat")], max_new_tokens=1)[0].ids
    assert reason(first) == "stop"
    assert reason([]) == "length"


def test_closing_the_stream_ends_the_decoding(model, tokenizer):
    before = threading.active_count()
    pieces = stream(model, tokenizer, list(b"The cat"), max_new_tokens=100, stop_ids=[])
    next(pieces)
    pieces.close()
    assert threading.active_count() == before


def test_a_token_that_the_model_has_not_is_refused(model, tokenizer):
    with pytest.raises(ConfigError, match="no such token"):
        list(stream(model, tokenizer, [10**6], max_new_tokens=4))


def test_an_empty_prompt_is_refused(model, tokenizer):
    with pytest.raises(ModelError):
        next(stream(model, tokenizer, []))
