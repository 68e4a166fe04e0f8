"""Whole words: which tokens go together, on English and Korean, in every kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from hanji.contracts.errors import ModelError
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.words import byte_letters
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

Make = Callable[..., Tokenizer]

SENTENCE = "Grandmother's paper-maker, 12345!"
EOJEOL = "할머니께서는 닥나무를 두드리셨습니다."


def words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The text's tokens, joined to words as whole-word masking joins them."""
    ids = tokenizer.encode_texts([text])[0]
    begins = ~tokenizer.continues_word[ids]
    begins[0] = True
    return [tokenizer.decode(part.tolist()) for part in np.split(ids, np.flatnonzero(begins)[1:])]


@pytest.mark.parametrize(
    ("algorithm", "size", "english", "korean"),
    [
        (
            "bpe",
            700,
            ["Grandmother", "'s", " paper", "-maker", ",", " 12345", "!"],
            ["할머니께서는", " 닥나무를", " 두드리셨습니다", "."],
        ),
        (
            "unigram",
            900,
            ["Grandmother", "'s", " paper", "-maker", ",", " 12345", "!"],
            ["할머니께서는", " 닥나무를", " 두드리셨습니다", "."],
        ),
    ],
)
def test_spaces_and_punctuation_begin_words(
    make_trained: Make, algorithm: str, size: int, english: list[str], korean: list[str]
) -> None:
    tokenizer = make_trained(algorithm, size)
    assert words(tokenizer, SENTENCE) == english
    assert words(tokenizer, EOJEOL) == korean
    assert max(tokenizer.encode_texts([EOJEOL])[1]) > 10  # so that words had to be joined


def test_wordpiece_marks_what_continues(minilm_directory: Path, make_trained: Make) -> None:
    bert = Tokenizer.load(minilm_directory)
    assert words(bert, "hanji papermaking, isn't") == ["hanji", "papermaking", ",", "isn", "'", "t"]
    jamo = words(bert, "한지는 닥나무")  # BERT's English vocabulary takes syllables apart
    assert len(jamo) == 2 and len(bert.encode_texts(["한지는 닥나무"])[0]) > 10
    trained = make_trained("wordpiece", 900)
    assert words(trained, "만든다고 닥나무는.") == ["만든다고", "닥나무는", "."]


def test_smollm2_and_stories(smollm2: Tokenizer, shared_data: Path) -> None:
    assert words(smollm2, SENTENCE) == ["Grandmother", "'s", " paper", "-maker", ",", " 12345", "!"]
    assert words(smollm2, EOJEOL) == ["할머니께서는", " 닥나무를", " 두드리셨습니다", "."]
    stories = Tokenizer.load(shared_data / "models" / "stories260k")
    assert [word.strip() for word in words(stories, SENTENCE + "\n" + EOJEOL)] == [
        *("Grandmother", "'s", "paper", "-maker", ",", "12345", "!"),
        *("할머니께서는", "닥나무를", "두드리셨습니다", "."),
    ]


def test_han_and_kana_have_no_spaces(make_trained: Make) -> None:
    for algorithm in ("bpe", "unigram"):
        tokenizer = make_trained(algorithm, 900)
        for token, index in tokenizer.hf.get_vocab().items():
            text = tokenizer.decode([index])
            if index not in tokenizer.special_ids and text[:1] in {"白", "い", "紙", "カ", "漢"}:
                assert not tokenizer.continues_word[index], token


@pytest.mark.parametrize("algorithm", ["bpe", "unigram", "wordpiece"])
def test_special_and_added_tokens_are_words_of_their_own(make_trained: Make, algorithm: str) -> None:
    trained = make_trained(algorithm, 900)
    hf = PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_str(trained.hf.backend_tokenizer.to_str()), pad_token="[PAD]"
    )
    hf.add_tokens(["kimchi"])
    tokenizer = Tokenizer(hf)
    continues = tokenizer.continues_word
    assert continues.shape == (tokenizer.vocabulary_size,) and continues.any()
    assert not continues[list(tokenizer.special_ids)].any()
    assert not continues[hf.convert_tokens_to_ids("kimchi")]


def test_letters_of_bytes_are_those_of_gpt2() -> None:
    assert byte_letters() == {letter: byte for byte, letter in bytes_to_unicode().items()}


def test_a_part_of_a_character_goes_on_with_the_word(make_trained: Make) -> None:
    tokenizer = make_trained("bpe", 700)
    letters = {byte: letter for letter, byte in byte_letters().items()}
    begins = {
        byte for byte in range(256) if not tokenizer.continues_word[tokenizer.hf.get_vocab()[letters[byte]]]
    }
    ascii_begins = {
        byte for byte in range(128) if not (chr(byte).isalnum() or (byte < 32 and not chr(byte).isspace()))
    }
    assert begins == ascii_begins - {127}


def test_spelling_that_does_not_tell_is_refused() -> None:
    words_only = models.WordLevel({"paper": 0, "[PAD]": 1}, unk_token="paper")
    bare = models.BPE({"p": 0, "a</w>": 1, "[PAD]": 2}, [], end_of_word_suffix="</w>")
    for model in (words_only, bare):
        backend = Backend(model)
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        backend.decoder = decoders.BPEDecoder(suffix="</w>")
        tokenizer = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]"))
        with pytest.raises(ModelError, match="do not tell where a word begins"):
            _ = tokenizer.continues_word
