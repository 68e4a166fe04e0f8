"""A chat model that learns a few answers by heart, a tokenizer of its own, and services of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from openai import OpenAI
from transformers import LlamaConfig, LlamaForCausalLM

from hanji.serving.models import Models
from hanji.serving.service import Service
from hanji.storage.database import Database
from hanji.storage.location import parse
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer
from serving.running import KNOWN, WEATHER, Running, Trained, running, starting


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    corpus = [*KNOWN, *KNOWN.values(), "user assistant system tool Functions you can call tools"] * 4
    return train_tokenizer(iter(corpus), algorithm="bpe", vocab_size=400, special_tokens=[], min_frequency=2)


@pytest.fixture(scope="session")
def trained(tokenizer: Tokenizer) -> Trained:
    """Learns KNOWN by heart; the call with its tool on offer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=tokenizer.vocabulary_size, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512,
            pad_token_id=tokenizer.pad_id, eos_token_id=tokenizer.eos_id, bos_token_id=None,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    chats = [
        tokenizer.encode_chat(
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
            tools=[WEATHER] if "<tool_call>" in answer else None,
        )
        for question, answer in KNOWN.items()
    ]
    for _ in range(120):
        loss = sum(
            model(
                input_ids=torch.tensor(chat.ids)[None].long(),
                labels=torch.where(torch.tensor(chat.trained), torch.tensor(chat.ids).long(), -100)[None],
            ).loss
            for chat in chats
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.005:
            break
    assert loss.item() < 0.05, "the model of the tests has not learnt its answers"
    return Trained(model.eval(), tokenizer)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Service], Running]]:
    """Runs services until the tests are over."""
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(running(service))


@pytest.fixture(scope="session")
def tiny(trained: Trained, serve: Callable[[Service], Running]) -> Running:
    """One service of the trained model, with four slots, for all tests that leave it as it is."""
    return serve(Service(Models({"tiny": starting(trained.model, trained.tokenizer, slots=4)})))


@pytest.fixture(scope="session")
def client(tiny: Running) -> OpenAI:
    return tiny.client()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(parse(f"sqlite:///{tmp_path}/hanji.db", "test")) as opened:
        yield opened
