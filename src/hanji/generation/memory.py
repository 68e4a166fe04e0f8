"""How much of a cache fits into how much memory."""

from __future__ import annotations

from typing import Any

from hanji.contracts.errors import ConfigError
from hanji.generation.decoders import head_size, stride


def context_of(model: Any, slots: int, wanted: int | None, cache_bytes: int) -> int:
    """Tokens of a slot: what is wanted, else as many as the model reads and the memory holds.

    Raises:
        ConfigError: more are wanted.
    """
    config = model.config.get_text_config()
    reads: int | None = getattr(config, "max_position_embeddings", None)
    held = max(1, cache_bytes // (slots * bytes_per_token(model)) - 1)
    held = held // stride(model) * stride(model) or held
    if wanted is None:
        return min(held, reads or held)
    for limit, who in ((reads, "the model reads"), (held, f"{cache_bytes:,} bytes hold for {slots} slots")):
        if limit is not None and wanted > limit:
            raise ConfigError(
                "the context is too long", where="context", value=wanted,
                expected=f"at most {limit}, which is what {who}",
            )  # fmt: skip
    return wanted


def bytes_per_token(model: Any) -> int:
    """Bytes of the keys and values of one token."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", 1)
    return int(2 * config.num_hidden_layers * heads * head_size(model) * model.dtype.itemsize)
