"""Training: the size asked for, the same each time, and nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hanji.contracts.errors import ConfigError, DataError
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import PATTERNS, train_tokenizer

Make = Callable[..., Tokenizer]
any_text = st.text(st.characters(exclude_categories=["Cs"]))
properties = settings(
    deadline=None,
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Listener:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def advance(self, phase: str, done: float, total: float | None = None, **figures: float) -> None:
        assert total is None or done <= total

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
@properties
@given(text=any_text)
def test_bpe_gives_back_any_text(corpus: list[str], pattern: str, text: str) -> None:
    tokenizer = _bpe(tuple(corpus), pattern)
    ids, lengths = tokenizer.encode_texts([text])
    assert tokenizer.decode(ids.tolist()) == text
    assert lengths.tolist() == [len(ids)]
    assert not set(ids.tolist()) & set(tokenizer.hf.all_special_ids)


@properties
@given(text=any_text)
def test_unigram_gives_back_any_text_without_its_sign_for_a_space(make_trained: Make, text: str) -> None:
    tokenizer = make_trained("unigram", 900)
    ids = tokenizer.encode_texts([text])[0].tolist()
    assert tokenizer.decode(ids) == text.replace("▁", " ")
    assert not set(ids) & set(tokenizer.hf.all_special_ids)


@pytest.mark.parametrize("typed", ["<0x41>", "<unk>", "<|im_end|>", "<0xED><0x95>", "a <|endoftext|> <0x0A>"])
@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_what_looks_like_a_token_is_text(make_trained: Make, algorithm: str, typed: str) -> None:
    tokenizer = make_trained(algorithm, 900)
    ids = tokenizer.encode_texts([typed])[0].tolist()
    assert tokenizer.decode(ids) == typed
    assert not set(ids) & set(tokenizer.hf.all_special_ids)


def test_patterns_are_those_that_other_runtimes_know() -> None:
    """llama.cpp's converter, transformers and gigatoken recognise the pre-tokenizer by these very letters."""
    gguf = pytest.importorskip("transformers.integrations.gguf.gguf_tokenizer_mapping")
    assert PATTERNS["llama3"] == gguf.GGUF_PRE_TOKENIZER_SPLITS["llama-bpe"]
    assert PATTERNS["qwen2"] == gguf.GGUF_PRE_TOKENIZER_SPLITS["qwen2"]


def test_patterns_group_digits_differently(corpus: list[str]) -> None:
    numbers = ["12345 2026 1443"] * 5 + corpus
    three = train_tokenizer(iter(numbers), vocab_size=1000, pattern="llama3")
    single = train_tokenizer(iter(numbers), vocab_size=1000, pattern="qwen2")
    assert three.hf.tokenize("12345") == ["123", "45"]
    assert single.hf.tokenize("12345") == list("12345")


@pytest.mark.parametrize(("algorithm", "size"), [("bpe", 400), ("unigram", 430), ("wordpiece", 380)])
def test_size_is_exact_and_training_repeatable(corpus: list[str], algorithm: Any, size: int) -> None:
    def train() -> Tokenizer:
        return train_tokenizer(
            iter(corpus), algorithm=algorithm, vocab_size=size, special_tokens=["<|x|>", "<|x|>"]
        )

    one, other = train(), train()
    assert one.vocabulary_size == len(one.hf) == size
    assert "<|x|>" in one.hf.all_special_tokens
    assert one.hf.backend_tokenizer.to_str() == other.hf.backend_tokenizer.to_str()


def test_training_is_the_same_in_another_process(corpus: list[str], tmp_path: Path) -> None:
    """Hash tables are seeded anew in each process: no order of theirs may show."""
    program = (
        "import json, sys\n"
        "from hanji.tokenizers.train import train_tokenizer\n"
        "assert 'gigatoken' not in sys.modules and 'awkward' not in sys.modules, 'imported and not used'\n"
        "texts, sizes = json.load(open(sys.argv[1]))\n"
        "for algorithm, size in sizes.items():\n"
        "    made = train_tokenizer(iter(texts), algorithm=algorithm, vocab_size=size)\n"
        "    print(made.hf.backend_tokenizer.to_str())\n"
    )
    sizes: dict[Any, int] = {"bpe": 500, "unigram": 800, "wordpiece": 600}
    path = tmp_path / "texts.json"
    path.write_text(json.dumps([corpus, sizes]), encoding="utf-8")
    command = [sys.executable, "-c", program, str(path)]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    here = [
        train_tokenizer(iter(corpus), algorithm=algorithm, vocab_size=size).hf.backend_tokenizer.to_str()
        for algorithm, size in sizes.items()
    ]
    assert [hash(text) for text in there] == [hash(text) for text in here]


def test_a_small_text_gives_what_there_is_and_says_so() -> None:
    listener = Listener()
    made = train_tokenizer(iter(["a small text, a small text"]), vocab_size=5000, progress=listener)
    assert 260 < made.vocabulary_size < 300
    assert f"{made.vocabulary_size:,}" in listener.notes[0] and "too small" in listener.notes[0]


def test_wordpiece_leaves_hangul_whole(make_trained: Make) -> None:
    tokenizer = make_trained("wordpiece", 900)
    assert tokenizer.decode(tokenizer.encode_texts(["한지는 종이 é"])[0].tolist()).startswith("한지는")
    decomposed = tokenizer.encode_texts(["한지는"])[0]
    assert decomposed.tolist() == tokenizer.encode_texts(["한지는"])[0].tolist()
    first, second = tokenizer.hf("한지는"), tokenizer.hf("한지", "종이")
    assert tokenizer.hf.convert_ids_to_tokens(first.input_ids)[:: len(first.input_ids) - 1] == [
        "[CLS]",
        "[SEP]",
    ]
    assert tokenizer.hf.convert_ids_to_tokens(second.input_ids).count("[SEP]") == 2
    assert [tokenizer.hf.convert_ids_to_tokens(index) for index in range(5)] == [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vocab_size": 260}, "no room to learn"),
        ({"vocab_size": 700, "pattern": "gpt2"}, "unknown pattern"),
        ({"vocab_size": 700, "algorithm": "word"}, "unknown algorithm"),
        ({"vocab_size": 700, "algorithm": "unigram", "min_frequency": 5}, "no min_frequency"),
        ({"vocab_size": 300, "algorithm": "unigram"}, "no room for every character"),
        ({"vocab_size": 200, "algorithm": "wordpiece"}, "no room for every character"),
        ({"vocab_size": 700, "special_tokens": [" "]}, "a special token"),
    ],
)
def test_settings_that_cannot_be_met(corpus: list[str], options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        train_tokenizer(iter(corpus), **options)


@pytest.mark.parametrize("algorithm", ["bpe", "unigram", "wordpiece"])
@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_nothing_to_train_on(algorithm: Any, texts: list[str]) -> None:
    with pytest.raises(DataError, match="no text"):
        train_tokenizer(iter(texts), algorithm=algorithm, vocab_size=700)


@pytest.mark.parametrize("algorithm", ["bpe", "unigram", "wordpiece"])
def test_saved_loads_in_plain_transformers(
    make_trained: Make, corpus: list[str], tmp_path: Path, algorithm: str
) -> None:
    tokenizer = make_trained(algorithm, 900)
    tokenizer.save(tmp_path)
    plain, ours = AutoTokenizer.from_pretrained(tmp_path), Tokenizer.load(tmp_path)
    for text in [*corpus[:7], "  <|im_end|> \n\n", ""]:
        assert plain(text).input_ids == tokenizer.hf(text).input_ids
        assert ours.encode_texts([text])[0].tolist() == tokenizer.encode_texts([text])[0].tolist()
    assert plain.pad_token_id == tokenizer.pad_id == ours.pad_id
    assert (ours.bos_id, ours.eos_id, ours.eos_ids) == (tokenizer.bos_id, tokenizer.eos_id, tokenizer.eos_ids)
    assert plain.chat_template == tokenizer.chat_template
    if algorithm != "wordpiece":
        assert plain("한지").input_ids == tokenizer.encode_prompt("한지")
        assert tokenizer.encode_prompt("한지")[0] == tokenizer.bos_id
        chat = [{"role": "user", "content": "안녕"}]
        ids = plain.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        assert ids == ours.encode_chat(chat, add_generation_prompt=True).ids.tolist()


_made: dict[str, Tokenizer] = {}


def _bpe(corpus: tuple[str, ...], pattern: str) -> Tokenizer:
    if pattern not in _made:
        _made[pattern] = train_tokenizer(iter(corpus), vocab_size=600, pattern=pattern)
    return _made[pattern]
