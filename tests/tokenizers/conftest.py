"""Tokenizers small enough to train in a test, and chat templates in the manner of known families."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer
from tokenizers import AddedToken, normalizers
from tokenizers import Tokenizer as Backend

TEMPLATES = Path(__file__).parent / "templates"

CORPUS = [
    "The first page is blank.\n\nSomeone takes a brush,\n\n\ngrinds the ink, and begins to write on paper.",
    "한지는 닥나무 껍질로 만든다. 물에 불리고, 두드리고, 한 장씩 떠서 말린다. 그래서 천 년을 간다고 한다.",
    "白い紙に墨で字を書く。カタカナもひらがなも漢字もある。",
    "def blank(pages: int = 12) -> list[str]:\n    return ['' for _ in range(pages)]  # 100 of them\n",
    "user asks, assistant answers; the system keeps quiet. model, tool, system, user, assistant.",
    "In 1443 and 2026, 12,345 sheets at 3.75 each: don't we'll they're I'm it's she'd you've.",
    "Жёлтый лист бумаги. Ένα λευκό χαρτί. 📄 🇰🇷 ½ é ñ ü",
] * 4

CONTROL = [
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<s>", "</s>"),
    *("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
    *("<|end|>", "<|user|>", "<|system|>", "<|assistant|>", "[INST]", "[/INST]"),
]
WORDS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]

FAMILIES: dict[str, dict[str, str]] = {
    "blank": {},
    "blank-unmarked": {},
    "chatml": {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"},
    "chatml-marked": {"eos_token": "<|im_end|>"},
    "chatml-marked-content": {"eos_token": "<|endoftext|>"},
    "llama3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    "mistral": {"bos_token": "<s>", "eos_token": "</s>"},
    "gemma": {"bos_token": "<bos>", "eos_token": "<eos>"},
    "zephyr": {"bos_token": "<s>", "eos_token": "</s>"},
    "phi": {"eos_token": "<|endoftext|>"},
    "qwen": {"eos_token": "<|im_end|>"},
    "endless": {"eos_token": "</s>"},
}
END_OF_TURN = {
    "blank": "<|im_end|>",
    "chatml": "<|im_end|>",
    "chatml-marked": "<|im_end|>",
    "chatml-marked-content": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "mistral": "</s>",
    "gemma": "<end_of_turn>",
    "zephyr": "</s>",
    "phi": "<|end|>",
    "qwen": "<|im_end|>",
}


@cache
def trained(algorithm: str = "bpe", vocab_size: int = 700) -> Tokenizer:
    return train_tokenizer(
        iter(CORPUS), algorithm=algorithm, vocab_size=vocab_size, special_tokens=CONTROL, min_frequency=2
    )


@cache
def family(name: str, kind: str = "bytes") -> Tokenizer:
    """A tokenizer with a family's template and end tokens.

    `bytes` is byte-level BPE; `sentencepiece` puts ▁ before every stretch of text, as the first Llamas do.
    """
    source = trained("bpe") if kind == "bytes" else trained("unigram", 900)
    description = json.loads(source.hf.backend_tokenizer.to_str())
    if kind == "sentencepiece":
        description["pre_tokenizer"] = None
    backend = Backend.from_str(json.dumps(description))
    if kind == "sentencepiece":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",
        extra_special_tokens=[*CONTROL, "<|im_start|>", "<|im_end|>"],
        **({"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"} | FAMILIES[name]),
    )
    hf.add_tokens([AddedToken(word, special=False, normalized=False) for word in WORDS])
    if name.startswith("blank"):
        marks = (
            re.compile(r"\{%- (?:end)?generation %\}\n?") if name == "blank-unmarked" else re.compile("(?!)")
        )
        hf.chat_template = marks.sub("", source.chat_template or "")
    else:
        hf.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return Tokenizer(hf)


@pytest.fixture(scope="session")
def make_trained() -> Callable[..., Tokenizer]:
    return trained


@pytest.fixture(scope="session")
def make_family() -> Callable[..., Tokenizer]:
    return family


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    return CORPUS


@pytest.fixture(scope="session")
def end_of_turn() -> dict[str, str]:
    return END_OF_TURN


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf: Path) -> Tokenizer:
    return Tokenizer.load(smollm2_gguf)
