"""Tiny decoders and encoders of many families, with random weights: what paths are proven on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import CONFIG_MAPPING

from hanji.contracts.protocols import Head
from hanji.models.heads import CLASSES

VOCABULARY = 211

_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _SHAPE,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "qwen3": {**_SHAPE, "head_dim": 8},
    "mistral": {**_SHAPE, "sliding_window": 16},
    "gemma2": {**_SHAPE, "head_dim": 8, "sliding_window": 16},
    "gemma3_text": {**_SHAPE, "head_dim": 8, "sliding_window": 16},
    "granite": {**_SHAPE, "logits_scaling": 4.0},
    "cohere": _SHAPE,
    "mixtral": {**_SHAPE, "num_local_experts": 4},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "gpt_oss": {**_SHAPE, "head_dim": 8, "num_local_experts": 4, "sliding_window": 16},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
}


_ENCODER = {key: value for key, value in _SHAPE.items() if key != "num_key_value_heads"}

ENCODERS: dict[str, dict[str, Any]] = {
    "bert": _ENCODER,
    "roberta": {**_ENCODER, "pad_token_id": 1, "bos_token_id": 0},
    "modernbert": {
        **_ENCODER, "num_hidden_layers": 3, "local_attention": 16, "global_attn_every_n_layers": 3,
        "cls_token_id": 1, "sep_token_id": 2,
    },
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 256},
    "albert": {**_ENCODER, "embedding_size": 16},
    "electra": {**_ENCODER, "embedding_size": 16},
    "deberta-v2": _ENCODER,
    "mpnet": {**_ENCODER, "pad_token_id": 1, "bos_token_id": 0},
}  # fmt: skip


def tiny(family: str, head: Head = "causal") -> Any:
    """A model of the family; the same weights every time."""
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    shape = {**FAMILIES, **ENCODERS}[family]
    config = CONFIG_MAPPING[family](**{"vocab_size": VOCABULARY, **tokens, **shape})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CLASSES[head].from_config(config, dtype=torch.float32).eval()


class Ids:
    """A tokenizer of ids: a token's text is its number."""

    pad_id = 0

    def __init__(self, *eos_ids: int) -> None:
        self.eos_ids = eos_ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        return "".join(f"<{i}>" for i in ids)
