"""A tiny random Llama and a tokenizer of single bytes, for tests of what is built on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

BYTES, PAD, END, VOCABULARY = 256, 256, 257, 258


class ByteTokenizer:
    """Each byte is a token; two special tokens beside them."""

    pad_id = PAD
    eos_ids = (END,)
    vocabulary_size = VOCABULARY

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        special = {PAD: b"<pad>", END: b"<end>"}
        parts = [bytes([i]) if i < BYTES else b"" if skip_special_tokens else special[i] for i in ids]
        return b"".join(parts).decode(errors="replace")

    def encode_prompt(self, text: str) -> list[int]:
        return list(text.encode())


@pytest.fixture(scope="session")
def tokenizer() -> ByteTokenizer:
    return ByteTokenizer()


@pytest.fixture(scope="session")
def make_llama() -> Callable[..., LlamaForCausalLM]:
    def make(**changes: Any) -> LlamaForCausalLM:
        torch.manual_seed(0)
        shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        tokens = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": END, "pad_token_id": PAD}
        settings = {"num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.3}
        return LlamaForCausalLM(LlamaConfig(**{**shape, **tokens, **settings, **changes}))

    return make


@pytest.fixture(scope="session")
def model(make_llama: Callable[..., LlamaForCausalLM]) -> LlamaForCausalLM:
    return make_llama()


@pytest.fixture
def model_of_24_positions() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": END}
    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=24, **tokens))


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
