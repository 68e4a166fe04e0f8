"""Where commands are tried: a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hanji.tokenizers.train import train_tokenizer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a model that was never trained, `blank`."""
    for name in ("HANJI_DATABASE_URL", "HANJI_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    tokenizer = train_tokenizer(
        iter(["one two three"] * 9), algorithm="bpe", vocab_size=300, special_tokens=[], min_frequency=2
    )
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"pad_token_id": tokenizer.pad_id, "eos_token_id": tokenizer.eos_id, "bos_token_id": None}
    config = LlamaConfig(vocab_size=tokenizer.vocabulary_size, max_position_embeddings=4096, **shape, **ids)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "blank")
    tokenizer.save(tmp_path / "blank")
    return tmp_path
