"""A tokenizer and tiny models in directories: random ones of many families, and one trained for seconds."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSequenceClassification

from hanji.models.load import save_model
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer

SENTENCES = (
    "A sheet of paper is folded once, then twice, and becomes a boat.",
    "한지는 닥나무로 만든다. 종이는 천 년을 간다.",
    "def fold(sheet, times):\n    for n in range(times):\n        sheet = half(sheet)\n    return sheet\n",
    "The boat 🚣 goes down the river 12,345 times; 강은 바다로 간다 🌊.",
    "Who made the boat? I don't know, but it isn't mine.",
)
SHAPE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Byte-level BPE with Llama 3's pattern and the ChatML template."""
    return train_tokenizer(iter(SENTENCES * 4), vocab_size=360)


@pytest.fixture(scope="session")
def make_model(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A random model of a family in a directory; norms and biases are random too, so that none is idle."""

    def make(family: str, *, tokens: Tokenizer = tokenizer, classes: int = 0, **changes: Any) -> Path:
        shape = GPT2 if family == "gpt2" else SHAPE
        ids = {"pad_token_id": tokens.pad_id, "bos_token_id": tokens.bos_id, "eos_token_id": tokens.eos_id}
        common = {"vocab_size": tokens.vocabulary_size, "tie_word_embeddings": True, "initializer_range": 0.2}
        config = CONFIG_MAPPING[family](**{**common, **ids, **shape, **changes})
        kind = AutoModelForCausalLM
        if classes:
            config.num_labels, kind = classes, AutoModelForSequenceClassification
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = kind.from_config(config, dtype=torch.float32)
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    centre = 1.0 if name.endswith("weight") and "gemma" not in family else 0.0
                    torch.nn.init.normal_(parameter, centre, 0.2)
        directory = tmp_path_factory.mktemp(family)
        save_model(model, directory, generation=tokens.generation_settings())
        tokens.save(directory)
        return directory

    return make


@pytest.fixture(scope="session")
def llama(make_model: Callable[..., Path]) -> Path:
    return make_model("llama")


@pytest.fixture(scope="session")
def trained(tokenizer: Tokenizer, make_model: Callable[..., Path], tmp_path_factory: Any) -> Path:
    """A Llama that knows `SENTENCES` by heart, and when they end."""
    directory = make_model("llama", initializer_range=0.02)
    model = AutoModelForCausalLM.from_pretrained(directory)
    rows = [[*tokenizer.encode_prompt(text), tokenizer.eos_id] for text in SENTENCES]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_id] * (longest - len(row)) for row in rows])
    labels = ids.masked_fill(ids == tokenizer.pad_id, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(60):
            model(input_ids=ids, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    made: Path = tmp_path_factory.mktemp("trained")
    save_model(model, made, generation=tokenizer.generation_settings())
    tokenizer.save(made)
    return made


@pytest.fixture(scope="session")
def llama_cpp() -> Iterator[None]:
    """For tests of what llama.cpp says."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("llama.cpp is not installed: pip install xllamacpp")
    return


class Notes:
    """A Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.phases: list[tuple[str, float, float | None]] = []

    def advance(self, phase: str, done: float, total: float | None = None, **figures: float) -> None:
        self.phases.append((phase, done, total))

    def note(self, message: str) -> None:
        self.notes.append(message)
