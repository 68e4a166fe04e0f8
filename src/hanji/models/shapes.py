"""The shape of a model without its vocabulary: how many parameters it has, and its transformers config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Family = Literal["llama", "gpt2", "qwen3", "bert", "modernbert"]
Kind = Literal["decoder", "encoder"]

SEGMENTS = 2
"""Token types of BERT: the first text and the second."""
LOCAL_ATTENTION = 128
"""Tokens that a local block of ModernBERT sees; every third block, from the first on, sees all."""


@dataclass(frozen=True, slots=True)
class Preset:
    """The shape of a decoder or an encoder, without its vocabulary.

    An encoder is counted as `AutoModelForMaskedLM` builds it: with the head that names hidden tokens, without
    what tells how two texts stand to each other (h² + 3h + 2 more in BERT, h being the hidden size).

    Attributes:
        heads: query heads; `key_value_heads` may be fewer (grouped queries).
        head_size: width of a head.
        intermediate_size: width of the feed-forward layer.
        context: longest sequence in tokens; where positions are learned (gpt2, bert) it has parameters.
        tied: whether the output head is the input embedding.
    """

    family: Family
    size: str
    layers: int
    hidden_size: int
    heads: int
    key_value_heads: int
    head_size: int
    intermediate_size: int
    context: int
    tied: bool

    @property
    def name(self) -> str:
        return f"{self.family}-{self.size}"

    @property
    def kind(self) -> Kind:
        """A decoder predicts the next token, an encoder hidden tokens from both sides."""
        return "encoder" if self.family in ("bert", "modernbert") else "decoder"

    @property
    def non_embedding_parameters(self) -> int:
        """Parameters that grow neither with the vocabulary nor with the context.

        Left out are the embeddings of tokens, positions and segments, and the output head with its bias. The
        dense layer and the norm that an encoder's head has before its output are counted.
        """
        hidden, wide = self.hidden_size, self.intermediate_size
        queries, pairs = self.heads * self.head_size, 2 * self.key_value_heads * self.head_size
        matrices = hidden * (queries + pairs) + queries * hidden
        if self.family in ("gpt2", "bert"):  # biases everywhere, norms with biases
            layer = matrices + 2 * hidden * wide + (4 * hidden + wide + hidden) + 4 * hidden
            head = hidden * hidden + 3 * hidden if self.family == "bert" else 0
            return self.layers * layer + 2 * hidden + head
        if self.family == "modernbert":  # the first block has no norm before attention
            layer = matrices + 3 * hidden * wide + 2 * hidden
            return self.layers * layer + hidden + (hidden * hidden + hidden)
        norms = 2 * hidden + (2 * self.head_size if self.family == "qwen3" else 0)
        return self.layers * (matrices + 3 * hidden * wide + norms) + hidden

    def parameters(self, vocab_size: int) -> int:
        """All parameters with a vocabulary of `vocab_size` tokens."""
        learnt = {"gpt2": self.context, "bert": self.context + SEGMENTS}.get(self.family, 0)
        embeddings = vocab_size * self.hidden_size * (1 if self.tied else 2)
        bias = vocab_size if self.kind == "encoder" else 0
        return self.non_embedding_parameters + learnt * self.hidden_size + embeddings + bias

    def architecture(self) -> dict[str, Any]:
        """The keyword arguments of the family's transformers config."""
        if self.family == "gpt2":
            return {
                "n_embd": self.hidden_size, "n_layer": self.layers, "n_head": self.heads,
                "n_positions": self.context, "tie_word_embeddings": self.tied,
                "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
            }  # fmt: skip
        shape: dict[str, Any] = {
            "hidden_size": self.hidden_size, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.context, "tie_word_embeddings": self.tied,
        }  # fmt: skip
        if self.family == "bert":
            dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
            return shape | dropout | {"type_vocab_size": SEGMENTS}
        if self.family == "modernbert":
            return shape | {"local_attention": LOCAL_ATTENTION}
        if self.key_value_heads != self.heads:
            shape["num_key_value_heads"] = self.key_value_heads
        if self.head_size * self.heads != self.hidden_size or self.family == "qwen3":
            shape["head_dim"] = self.head_size
        return shape
