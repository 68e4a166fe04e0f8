"""Frames: what stands around texts is what the tokenizer itself puts there, or the tokenizer is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hanji.contracts.errors import ModelError
from hanji.contracts.frame import Frame
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer
from tokenizers import Tokenizer as Backend
from tokenizers import processors

Make = Callable[..., Tokenizer]

PAIRS = [
    ("The first page is blank.", "Someone takes a brush."),
    ("한지는 닥나무 껍질로 만든다.", "천 년을 간다고 한다."),
    ("", "only the second"),
    ("In 1443\n\n", "  12,345 sheets: don't! 📄"),
]


def assert_is_the_tokenizers_own(tokenizer: Tokenizer) -> None:
    """`before + a + between + b + after` against transformers, ids and types."""
    frame = tokenizer.frame
    for first, second in PAIRS:
        a, b = (tokenizer.encode_texts([text])[0].tolist() for text in (first, second))
        assert [*frame.before, *a, *frame.after] == tokenizer.hf(first).input_ids
        opening, closing = [*frame.before, *a, *frame.between], [*b, *frame.after]
        theirs = tokenizer.hf(first, second)
        assert opening + closing == theirs.input_ids
        assert ("token_type_ids" in theirs) == frame.has_segments
        if frame.has_segments:
            assert [0] * len(opening) + [1] * len(closing) == theirs.token_type_ids


@pytest.mark.parametrize(
    ("algorithm", "before", "between", "after", "has_segments"),
    [
        ("wordpiece", ["[CLS]"], ["[SEP]"], ["[SEP]"], True),
        ("bpe", ["<|endoftext|>"], ["<|endoftext|>"], [], False),
        ("unigram", ["<|endoftext|>"], ["<|endoftext|>"], [], False),
    ],
)
def test_trained_here(
    make_trained: Make,
    algorithm: str,
    before: list[str],
    between: list[str],
    after: list[str],
    has_segments: bool,
) -> None:
    tokenizer = make_trained(algorithm, 900)
    ids = [tuple(tokenizer.hf.convert_tokens_to_ids(tokens)) for tokens in (before, between, after)]
    assert tokenizer.frame == Frame(*ids, has_segments)
    assert_is_the_tokenizers_own(tokenizer)


def test_bert(minilm_directory: Path) -> None:
    tokenizer = Tokenizer.load(minilm_directory)
    assert tokenizer.frame == Frame((101,), (102,), (102,), has_segments=True)
    assert tokenizer.mask_id == 103
    assert tokenizer.special_ids == {0, 100, 101, 102, 103}
    assert_is_the_tokenizers_own(tokenizer)


def test_decoders_without_a_frame(smollm2: Tokenizer) -> None:
    assert smollm2.frame == Frame((), (), (), has_segments=False)
    assert smollm2.mask_id is None
    assert set(range(17)) <= smollm2.special_ids  # transformers itself lists only those with a name
    assert_is_the_tokenizers_own(smollm2)


def test_stories(shared_data: Path) -> None:
    tokenizer = Tokenizer.load(shared_data / "models" / "stories260k")
    assert tokenizer.frame == Frame((), (), (), has_segments=False)
    assert tokenizer.special_ids == {0, 1, 2}
    assert_is_the_tokenizers_own(tokenizer)


def dressed(
    make_trained: Make, post_processor: Callable[[Callable[[str], int]], Any], **told: Any
) -> Tokenizer:
    """The trained BPE with another post-processor, which is handed the ids of tokens."""
    backend = Backend.from_str(make_trained("bpe").hf.backend_tokenizer.to_str())
    backend.post_processor = post_processor(backend.token_to_id)
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|pad|>", bos_token="<s>", eos_token="</s>", **told
    )
    return Tokenizer(hf)


def template(single: str, pair: str) -> Callable[[Callable[[str], int]], Any]:
    return lambda index: processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(token, index(token)) for token in ("<s>", "</s>")]
    )


WITH_TYPES = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}


@pytest.mark.parametrize(
    ("single", "pair", "told", "frame"),
    [
        ("<s> $A", "<s> $A $B:1", {}, ("<s>", "", "", False)),  # Llama
        ("$A </s>", "$A </s> $B </s>", {}, ("", "</s>", "</s>", False)),  # T5
        ("<s> $A </s>", "<s> $A </s> $B </s>", {}, ("<s>", "</s>", "</s>", False)),  # ModernBERT
        ("<s> $A </s>", "<s> $A </s> $B:1 </s>:1", WITH_TYPES, ("<s>", "</s>", "</s>", True)),
        ("<s> $A </s>", "<s> $A </s> $B </s>", WITH_TYPES, ("<s>", "</s>", "</s>", False)),
        ("$A </s> <s>", "$A </s> $B </s> <s>", {}, ("", "</s>", "</s> <s>", False)),  # XLNet
    ],
)
def test_families(
    make_trained: Make, single: str, pair: str, told: dict[str, Any], frame: tuple[str, str, str, bool]
) -> None:
    tokenizer = dressed(make_trained, template(single, pair), **told)
    *texts, has_segments = frame
    ids = [tuple(tokenizer.hf.convert_tokens_to_ids(text.split())) for text in texts]
    assert tokenizer.frame == Frame(ids[0], ids[1], ids[2], has_segments)
    for first, second in PAIRS:
        a, b = (tuple(tokenizer.encode_texts([text])[0].tolist()) for text in (first, second))
        assert [*ids[0], *a, *ids[1], *b, *ids[2]] == tokenizer.hf(first, second).input_ids


def test_roberta_puts_two_tokens_between(make_trained: Make) -> None:
    tokenizer = dressed(
        make_trained,
        lambda index: processors.RobertaProcessing(
            ("</s>", index("</s>")), ("<s>", index("<s>")), add_prefix_space=False
        ),
    )
    start, end = tokenizer.hf.convert_tokens_to_ids(["<s>", "</s>"])
    assert tokenizer.frame == Frame((start,), (end, end), (end,), has_segments=False)
    assert_is_the_tokenizers_own(tokenizer)


@pytest.mark.parametrize(
    ("single", "pair", "told"),
    [
        ("<s> $A </s>", "$A </s> $B </s>", {}),  # a pair begins otherwise
        ("<s> $A", "<s> $B <s> $A", {}),  # the second text comes first
        ("$A </s>", "$A </s>:1 $B:1 </s>:1", WITH_TYPES),  # the token between belongs to the second text
        ("$A </s>", "$A </s> $B:1 </s>:2", WITH_TYPES),  # a third type
    ],
)
def test_what_no_frame_can_say_is_refused(
    make_trained: Make, single: str, pair: str, told: dict[str, Any]
) -> None:
    tokenizer = dressed(make_trained, template(single, pair), **told)
    with pytest.raises(ModelError, match="the same special tokens around every text"):
        _ = tokenizer.frame


def test_what_depends_on_the_text_is_refused(make_trained: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = dressed(make_trained, template("<s> $A", "<s> $A $B"))
    ask = type(tokenizer.hf).__call__

    def unless_digits(hf: Any, text: str, *more: str) -> Any:
        return ask(hf, text, *more, add_special_tokens=not text[0].isdigit())

    monkeypatch.setattr(type(tokenizer.hf), "__call__", unless_digits)
    with pytest.raises(ModelError, match="the same special tokens around every text"):
        _ = tokenizer.frame


def test_a_pair_has_its_types_in_plain_transformers_too(make_trained: Make, tmp_path: Path) -> None:
    ours = make_trained("wordpiece", 900)
    ours.save(tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert dict(plain("한지", "paper")) == dict(ours.hf("한지", "paper"))
    assert plain("한지", "paper").token_type_ids[-2:] == [1, 1]
    assert Tokenizer.load(tmp_path).frame == ours.frame


@pytest.mark.parametrize("mask", ["[MASK]", "<mask>", "<|mask|>"])
@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_a_trained_mask_token(corpus: list[str], tmp_path: Path, algorithm: Any, mask: str) -> None:
    made = train_tokenizer(iter(corpus), algorithm=algorithm, vocab_size=900, special_tokens=[mask])
    made.save(tmp_path)
    for tokenizer in (made, Tokenizer.load(tmp_path)):
        assert tokenizer.mask_id == tokenizer.hf.convert_tokens_to_ids(mask) in tokenizer.special_ids
        assert tokenizer.mask_id not in (tokenizer.pad_id, *tokenizer.eos_ids)
        assert tokenizer.mask_id not in tokenizer.encode_texts([f"a {mask} b"])[0]
        assert tokenizer.frame == Frame((tokenizer.bos_id,), (tokenizer.bos_id,), (), False)
    assert AutoTokenizer.from_pretrained(tmp_path).mask_token == mask


def test_wordpiece_serves_as_before_where_decoders_are_trained(make_trained: Make) -> None:
    tokenizer = make_trained("wordpiece", 900)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.eos_ids) == (None, None, [])
    assert tokenizer.hf.convert_ids_to_tokens([tokenizer.pad_id, tokenizer.mask_id]) == ["[PAD]", "[MASK]"]
    assert tokenizer.generation_settings() == {"pad_token_id": tokenizer.pad_id}
    assert tokenizer.encode_prompt("한지") == tokenizer.encode_texts(["한지"])[0].tolist()
    assert not set(tokenizer.encode_texts(["[CLS] 한지 [SEP]"])[0].tolist()) & {2, 3}
    with pytest.raises(ModelError, match="no chat template"):
        tokenizer.encode_chat([{"role": "user", "content": "한지"}])


def test_saved_settings_name_no_input_that_decoders_do_not_take(make_trained: Make, tmp_path: Path) -> None:
    for algorithm, told in {"bpe": None, "wordpiece": WITH_TYPES["model_input_names"]}.items():
        make_trained(algorithm, 900).save(tmp_path / algorithm)
        settings = json.loads((tmp_path / algorithm / "tokenizer_config.json").read_text())
        assert settings.get("model_input_names") == told
