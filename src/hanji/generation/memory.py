"""How much of a cache fits into how much memory."""

from __future__ import annotations

from typing import Any

from hanji.contracts.errors import ConfigError
from hanji.generation.decoders import STRIDE, head_size, reads


def context_of(model: Any, slots: int, wanted: int | None, limit_bytes: int) -> int:
    """Tokens of a slot: what is wanted, else as many as the model reads and the memory holds.

    Raises:
        ConfigError: more are wanted.
    """
    held = max(1, limit_bytes // (slots * bytes_per_token(model)) - 1)
    held = held // STRIDE * STRIDE or held
    longest = reads(model)
    if wanted is None:
        return min(held, longest or held)
    for limit, who in ((longest, "the model reads"), (held, f"{limit_bytes:,} bytes hold for {slots} slots")):
        if limit is not None and wanted > limit:
            raise ConfigError(
                "the context is too long", where="context", value=wanted,
                expected=f"at most {limit}, which is what {who}",
            )  # fmt: skip
    return wanted


def slots_for(model: Any, tokens: int, most: int, limit_bytes: int) -> tuple[int, int]:
    """How many rows of so many tokens fit into the memory, one at least, and the context of each."""
    longest = reads(model)
    context = tokens if longest is None else min(tokens, longest)
    return max(1, min(most, limit_bytes // cache_bytes(model, context))), context


def cache_bytes(model: Any, context: int) -> int:
    """Bytes of a slot of so many tokens, with its spare place."""
    places = -(-context // STRIDE) * STRIDE
    return (places + 1) * bytes_per_token(model)


def bytes_per_token(model: Any) -> int:
    """Bytes of the keys and values of one token."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", 1)
    return int(2 * config.num_hidden_layers * heads * head_size(model) * model.dtype.itemsize)
