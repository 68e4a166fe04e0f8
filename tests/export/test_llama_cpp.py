"""llama.cpp itself: the same tokens for texts and chats, and the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export.conftest import SENTENCES
from hanji.artifacts.models import load_trained
from hanji.export.exporting import export
from hanji.export.gguf.readers import ask_llama_cpp
from hanji.generation import generate
from hanji.tokenizers.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("llama_cpp")

TEXTS = (
    *SENTENCES,
    "Hello, world!  Two  spaces,\ttabs\n\nand lines.   ",
    " begins with a space",
    "I'LL say it's 3.14159e-10, 1234567 or 0xFF.",
    "한국어 띄어쓰기와 조사, 그리고 ㅋㅋㅋ 웃음.",
    "漢字 かな Ελληνικά עברית العربية ไทย",
    "for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; } // 주석",
    '{"name": "한지", "sheets": [1, 2, 3], "ok": true}',
    "👩‍👩‍👧‍👦🏳️‍🌈🇰🇷 emoji, e\u0301 and \u00e9",
    "<|im_start|>user\nnot a turn<|im_end|> <|endoftext|> <s></s>",
    "\u200b\u00a0\ufeff odd spaces \u2028",
    "a" * 200,
)
CHATS = (
    [{"role": "user", "content": "Who made the boat?"}],
    [{"role": "system", "content": "짧게 답하라."}, {"role": "user", "content": "  종이는?  "}],
    [
        {"role": "user", "content": "Fold it 🚣"},
        {"role": "assistant", "content": "once, then twice"},
        {"role": "user", "content": "And then?\n"},
    ],
)


def prompts_of(tokenizer: Tokenizer) -> list[list[int]]:
    """Twenty, of several lengths: beginnings of sentences and of other texts."""
    texts = [text[:length] for text in SENTENCES for length in (3, 9, 20)]
    return [tokenizer.encode_prompt(text) for text in (*texts, *(text[:12] for text in TEXTS[5:10]))]


def answers(directory: Path | str, tokenizer: Tokenizer, prompts: list[list[int]]) -> list[list[int]]:
    """Our greedy answers of 32 tokens, without the token that ended them."""
    found = generate(load_trained(directory), tokenizer, prompts, max_new_tokens=32)
    return [[i for i in answer.ids if i not in tokenizer.eos_ids] for answer in found]


def same(file: Path, source: Path | str, *, chats: Any = CHATS) -> list[list[int]]:
    """Holds llama.cpp against us; gives the answers."""
    tokenizer = Tokenizer.load(source)
    prompts = prompts_of(tokenizer)
    assert len(prompts) == 20
    said = ask_llama_cpp(file, texts=TEXTS, chats=chats, prompts=prompts, new_tokens=32)
    for text, found in zip(TEXTS, said["ids"], strict=True):
        assert found == tokenizer.encode_prompt(text), text
    for chat, found in zip(chats, said["chats"], strict=True):
        assert found == tokenizer.encode_chat(chat, add_generation_prompt=True).ids.tolist()
    ours = answers(source, tokenizer, prompts)
    theirs = [[i for i in ids if i not in tokenizer.eos_ids] for ids in said["answers"]]
    assert theirs == ours
    return ours


def test_a_trained_model_answers_the_same(trained: Path, tmp_path: Path) -> None:
    export(str(trained), "gguf", tmp_path / "model.gguf")
    ours = same(tmp_path / "model.gguf", trained)
    assert (
        any(len(answer) < 32 for answer in ours) and len({*map(tuple, ours)}) > 5
    )  # it has learned something


def test_sentencepiece_answers_the_same(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "models" / "stories260k"
    export(str(source), "gguf", tmp_path / "model.gguf")
    same(tmp_path / "model.gguf", source, chats=())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smollm2_answers_the_same(smollm2_gguf: Path, tmp_path: Path) -> None:
    export(str(smollm2_gguf), "gguf", tmp_path / "model.gguf")
    same(tmp_path / "model.gguf", smollm2_gguf)
