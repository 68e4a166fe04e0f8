"""Padding is a token that no row ends with, and no new one."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from hanji.tokenizers.tokenizer import Tokenizer
from tokenizers import Tokenizer as Backend
from tokenizers import models

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def make(special: list[str], *, template: str | None = None, **named: str) -> Tokenizer:
    tokens = ["plain", "words", *special]
    backend = Backend(
        models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="plain")
    )
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        extra_special_tokens=[token for token in special if token not in named.values()],
        **named,
    )
    hf.chat_template = template
    return Tokenizer(hf)


@pytest.mark.parametrize(
    ("special", "named", "chosen"),
    [
        (["<pad>", "</s>"], {"eos_token": "</s>", "pad_token": "<pad>"}, "<pad>"),
        (["</s>", "<unk>"], {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}, "<unk>"),
        (["<eos>", "<|finetune_right_pad_id|>"], {"eos_token": "<eos>"}, "<|finetune_right_pad_id|>"),
        (["<eos>", "<x>", "<|reserved_1|>"], {"eos_token": "<eos>", "pad_token": "<eos>"}, "<|reserved_1|>"),
        (["<eos>", "<x>", "<file_sep>"], {"eos_token": "<eos>"}, "<file_sep>"),
        (["<bos>", "<eos>"], {"eos_token": "<eos>", "bos_token": "<bos>"}, "<bos>"),
    ],
)
def test_the_choice(special: list[str], named: dict[str, str], chosen: str) -> None:
    tokenizer = make(special, **named)
    assert tokenizer.hf.convert_ids_to_tokens(tokenizer.pad_id) == chosen == tokenizer.hf.pad_token
    assert tokenizer.pad_id not in tokenizer.eos_ids
    assert len(tokenizer.hf) == 2 + len(special)
    assert bool(tokenizer.notes) == (named.get("pad_token") != chosen)


def test_the_end_of_a_turn_is_an_end_too() -> None:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<spare>"]
    tokenizer = make(special, template=CHATML, eos_token="<|endoftext|>", pad_token="<|im_end|>")
    assert tokenizer.eos_ids == [4, 2]
    assert tokenizer.hf.pad_token == "<spare>"


def test_an_ordinary_token_where_there_is_no_spare_one() -> None:
    tokenizer = make(["<eos>"], eos_token="<eos>", pad_token="<eos>")
    assert tokenizer.pad_id == 0 and tokenizer.vocabulary_size == 3
    assert tokenizer.hf.pad_token == "<eos>"  # "plain" must not become a special token
    assert "id 0" in tokenizer.notes[0]
