"""Tokenizers in llama.cpp's words: which can be said, and which are refused and why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from export.conftest import SENTENCES
from hanji.contracts.errors import ConfigError
from hanji.export.gguf.vocabulary import Vocabulary
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer
from tokenizers import AddedToken, decoders, models, normalizers
from tokenizers import Tokenizer as Backend

PADDING = {"SpecialToken": {"id": "<|pad|>", "type_id": 0}}


def changed(tokenizer: Tokenizer, change: Any) -> Tokenizer:
    """A copy with another description."""
    described = json.loads(tokenizer.hf.backend_tokenizer.to_str())
    pad = {"id": "<|pad|>", "ids": [tokenizer.pad_id], "tokens": ["<|pad|>"]}
    described["post_processor"]["special_tokens"]["<|pad|>"] = pad
    change(described)
    backend = Backend.from_str(json.dumps(described))
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|pad|>"
    )
    return Tokenizer(hf)


def sentencepiece(merges: list[tuple[str, str]], *extra: str) -> Tokenizer:
    """SentencePiece's BPE over a few letters."""
    letters = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abc"]
    tokens = list(dict.fromkeys([*letters, *(first + second for first, second in merges), *extra]))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Backend(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")]
    )
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    return Tokenizer(hf)


@pytest.mark.parametrize(("pattern", "way"), [("llama3", "llama-bpe"), ("qwen2", "qwen2")])
def test_our_own_bpe_has_a_name(pattern: str, way: str) -> None:
    tokenizer = train_tokenizer(iter(SENTENCES), vocab_size=300, pattern=pattern)
    said = Vocabulary.of(tokenizer, tokenizer.vocabulary_size)
    assert (said.model, said.way, said.adds_start, said.adds_end) == ("gpt2", way, True, False)
    assert said.ids["eot"] == tokenizer.eos_ids[0] != said.ids["eos"] == tokenizer.eos_id


def test_words_are_cut_first_where_merges_are_kept(tokenizer: Tokenizer) -> None:
    def keep_merges(described: Any) -> None:
        described["model"]["ignore_merges"] = False

    said = Vocabulary.of(changed(tokenizer, keep_merges), 400)
    assert said.way == "smaug-bpe"  # the same pattern, where no whole word skips the merges


def test_composing_is_noted(tokenizer: Tokenizer) -> None:
    said = Vocabulary.of(changed(tokenizer, lambda d: d.update(normalizer={"type": "NFC"})), 400)
    assert "NFC" in said.notes[0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.update(normalizer={"type": "Lowercase"}), "changes no text"),
        (
            lambda d: d["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": r"\S+|\s+"}),
            "no name for how",
        ),
        (lambda d: d["model"].update(dropout=0.1), "dropout"),
        (lambda d: d["added_tokens"][0].update(lstrip=True), "lstrip"),
        (
            lambda d: [d["post_processor"][kind].insert(0, PADDING) for kind in ("single", "pair")],
            "other special tokens",
        ),
    ],
)
def test_what_llama_cpp_cannot_do_is_refused(change: Any, named: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError) as refused:
        Vocabulary.of(changed(tokenizer, change), 400)
    assert named in str(refused.value)


@pytest.mark.parametrize("algorithm", ["unigram", "wordpiece"])
def test_other_algorithms_are_refused(algorithm: Any) -> None:
    tokenizer = train_tokenizer(iter(SENTENCES * 3), algorithm=algorithm, vocab_size=420)
    with pytest.raises(ConfigError, match="cannot be said in GGUF"):
        Vocabulary.of(tokenizer, tokenizer.vocabulary_size)


def test_the_order_of_merges_is_told_by_scores() -> None:
    tokenizer = sentencepiece([("a", "b"), ("▁", "a"), ("ab", "c"), ("▁", "ab"), ("▁a", "b")])
    said = Vocabulary.of(tokenizer, tokenizer.vocabulary_size)
    assert (said.model, said.adds_space, said.adds_start) == ("llama", True, False)
    scores = {token: said.scores[said.tokens.index(token)] for token in ("ab", "▁a", "abc", "▁ab")}
    assert sorted(scores, key=lambda token: -scores[token]) == ["ab", "▁a", "abc", "▁ab"]
    kinds = {token: said.kinds[said.tokens.index(token)] for token in ("a", "<unk>", "<s>", "<0x41>")}
    assert kinds == {"a": 1, "<unk>": 2, "<s>": 3, "<0x41>": 6}


@pytest.mark.parametrize(
    ("merges", "extra", "named"),
    [
        ([("a", "b"), ("ab", "c"), ("b", "c")], (), "merge a pair"),  # a + bc spells abc too
        ([("a", "b"), ("b", "c"), ("ab", "c"), ("▁", "a"), ("a", "bc")], (), "no order"),
        ([("a", "b")], ("bc",), "merge a pair"),  # nothing here makes bc, llama.cpp would
    ],
)
def test_merges_that_scores_cannot_tell_are_refused(
    merges: list[tuple[str, str]], extra: tuple[str, ...], named: str
) -> None:
    tokenizer = sentencepiece(merges, *extra)
    with pytest.raises(ConfigError) as refused:
        Vocabulary.of(tokenizer, tokenizer.vocabulary_size)
    assert named in refused.value.problem


def test_marks_of_training_are_left_out_of_the_template(tokenizer: Tokenizer) -> None:
    said = Vocabulary.of(tokenizer, 400)
    assert said.template is not None and tokenizer.chat_template is not None
    assert "endgeneration" in tokenizer.chat_template and "endgeneration" not in said.template
    assert "add_generation_prompt" in said.template
