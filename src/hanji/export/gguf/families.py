"""What llama.cpp calls the families of decoders, what it is told of them, and how it wants their weights.

Every way in which a family can differ from what llama.cpp computes is asked for by name, and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from gguf import GGUFWriter
from torch import Tensor, nn

Config = Any
_SLIDES_BUT_EVERY: Final = {"gemma2": 2, "gemma3_text": 6}
"""In llama.cpp, every so many layers look at all that came before; the others over a window."""
Doubt = tuple[str, Any, str]
"""A field of the config, its value, and what llama.cpp can do."""


@dataclass(frozen=True, slots=True)
class Family:
    """Models of one `model_type`.

    Attributes:
        architecture: llama.cpp's name.
        doubts: fields of a config that say something llama.cpp does not compute.
        describe: writes what llama.cpp must know besides the tensors.
        turn: a weight by its name here, as llama.cpp wants it.
        unread: fields that transformers' reader leaves at their defaults; llama.cpp reads them.
        rounding: by how much llama.cpp's own arithmetic may differ: it looks GELU up in a table of 16 bits.
    """

    architecture: str
    doubts: Callable[[Config], list[Doubt]]
    describe: Callable[[GGUFWriter, Config], None]
    turn: Callable[[str, Tensor, Config], Tensor]
    unread: tuple[str, ...] = ()
    rounding: float = 0.0


def more_tensors(family: Family, model: nn.Module) -> dict[str, Tensor]:
    """Tensors of llama.cpp that are no parameters here: how far the rotation of each pair is slowed down."""
    rotary = getattr(model, "model", None)
    rotary = getattr(rotary, "rotary_emb", None)
    config: Any = model.config
    if family.architecture != "llama" or rotary is None or _rope(config)["rope_type"] == "default":
        return {}
    size = _head_size(config)
    plain = _rope(config)["rope_theta"] ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
    return {"rope_freqs.weight": (plain / rotary.inv_freq.double().cpu()).float()}


def _rope(config: Config) -> Mapping[str, Any]:
    told: Mapping[str, Any] = config.rope_parameters
    by_layer: Mapping[str, Any] | None = told.get("full_attention")
    return told if by_layer is None else by_layer


def _head_size(config: Config) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _activation(config: Config, field: str, wanted: str) -> list[Doubt]:
    value = getattr(config, field)
    return [] if value == wanted else [(field, value, wanted)]


def _unwindowed(config: Config) -> list[Doubt]:
    """Attention that looks back over a window only, where llama.cpp looks at all."""
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None) or ()
    slides = "sliding_attention" in layers if layers else window is not None
    if not slides or window is None or window >= config.max_position_embeddings:
        return []
    return [("sliding_window", window, "none, or one as wide as max_position_embeddings")]


def _rope_types(config: Config, *known: str) -> list[Doubt]:
    kind = _rope(config).get("rope_type", "default")
    partial = _rope(config).get("partial_rotary_factor", 1.0)
    doubts: list[Doubt] = []
    if kind not in known:
        doubts.append(("rope_parameters.rope_type", kind, " or ".join(known)))
    if partial != 1.0:
        doubts.append(("rope_parameters.partial_rotary_factor", partial, "1"))
    return doubts


def _doubt_llama(config: Config) -> list[Doubt]:
    return [
        *_activation(config, "hidden_act", "silu"),
        *_rope_types(config, "default", "linear", "llama3"),
        *_unwindowed(config),
    ]


def _doubt_qwen(config: Config) -> list[Doubt]:
    doubts = [
        *_activation(config, "hidden_act", "silu"), *_rope_types(config, "default"), *_unwindowed(config)
    ]  # fmt: skip
    if config.model_type == "qwen3" and config.attention_bias:
        doubts.append(("attention_bias", True, "false"))
    return doubts


def _doubt_gpt2(config: Config) -> list[Doubt]:
    doubts = _activation(config, "activation_function", "gelu_new")
    for field, wanted in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False)):
        if getattr(config, field) != wanted:
            doubts.append((field, getattr(config, field), str(wanted).lower()))
    return doubts


def _describe_common(writer: GGUFWriter, config: Config, context: int, wide: int) -> None:
    writer.add_context_length(context)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)


def _describe_rotary(writer: GGUFWriter, config: Config) -> None:
    _describe_common(writer, config, config.max_position_embeddings, config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(_head_size(config))
    writer.add_value_length(_head_size(config))
    writer.add_rope_dimension_count(_head_size(config))
    writer.add_rope_freq_base(_rope(config)["rope_theta"])


def _describe_gemma2(writer: GGUFWriter, config: Config) -> None:
    _describe_rotary(writer, config)
    writer.add_sliding_window(config.sliding_window)
    writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _describe_gemma3(writer: GGUFWriter, config: Config) -> None:
    _describe_rotary(writer, config)
    writer.add_sliding_window(config.sliding_window)
    writer.add_rope_freq_base_swa(config.rope_parameters["sliding_attention"]["rope_theta"])


def _describe_gpt2(writer: GGUFWriter, config: Config) -> None:
    _describe_common(writer, config, config.n_positions, config.n_inner or 4 * config.n_embd)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _doubt_gemma(config: Config) -> list[Doubt]:
    doubts = _activation(config, "hidden_activation", "gelu_pytorch_tanh")
    if config.query_pre_attn_scalar != config.head_dim:
        doubts.append(("query_pre_attn_scalar", config.query_pre_attn_scalar, f"head_dim, {config.head_dim}"))
    if config.attention_bias:
        doubts.append(("attention_bias", True, "false"))
    if getattr(config, "use_bidirectional_attention", None):
        doubts.append(("use_bidirectional_attention", True, "false"))
    every = _SLIDES_BUT_EVERY[config.model_type]
    kinds = [
        "full_attention" if (i + 1) % every == 0 else "sliding_attention"
        for i in range(config.num_hidden_layers)
    ]
    if list(config.layer_types) != kinds:
        doubts.append(("layer_types", config.layer_types, f"full attention in every {every}th layer"))
    return doubts


def _doubt_gemma2(config: Config) -> list[Doubt]:
    return [*_doubt_gemma(config), *_rope_types(config, "default")]


def _doubt_gemma3(config: Config) -> list[Doubt]:
    doubts = _doubt_gemma(config)
    for kind, rope in config.rope_parameters.items():
        if rope.get("rope_type", "default") != "default":
            doubts.append((f"rope_parameters.{kind}.rope_type", rope["rope_type"], "default"))
    for field in ("attn_logit_softcapping", "final_logit_softcapping"):
        if getattr(config, field, None) is not None:
            doubts.append((field, getattr(config, field), "none"))
    return doubts


def _as_it_is(_name: str, weight: Tensor, _config: Config) -> Tensor:
    return weight


def _turn_gemma(name: str, weight: Tensor, _config: Config) -> Tensor:
    """Gemma's norms multiply by one more than their weight; llama.cpp's by the weight."""
    return weight + 1 if name.endswith("norm.weight") else weight


def _turn_llama(name: str, weight: Tensor, config: Config) -> Tensor:
    """llama.cpp turns neighbours of each head (2i, 2i + 1), transformers its halves (i, i + size / 2)."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, count in heads.items():
        if f".self_attn.{part}." in name:
            halves = weight.reshape(count, 2, weight.shape[0] // count // 2, *weight.shape[1:])
            return halves.transpose(1, 2).reshape(weight.shape)
    return weight


def _turn_gpt2(name: str, weight: Tensor, _config: Config) -> Tensor:
    """GPT-2's matrices are [in, out], of a Conv1D."""
    turned = any(part in name for part in (".attn.c_attn.", ".attn.c_proj.", ".mlp.c_fc.", ".mlp.c_proj."))
    return weight.T if turned and weight.ndim == 2 else weight


_GELU_TABLE: Final = 2e-3
_LLAMA: Final = Family(
    "llama", _doubt_llama, _describe_rotary, _turn_llama, ("attention_bias", "mlp_bias", "rope_parameters")
)
FAMILIES: Final[Mapping[str, Family]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Family("qwen2", _doubt_qwen, _describe_rotary, _as_it_is),
    "qwen3": Family("qwen3", _doubt_qwen, _describe_rotary, _as_it_is, ("head_dim",)),
    "gemma2": Family(
        "gemma2", _doubt_gemma2, _describe_gemma2, _turn_gemma,
        ("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"), _GELU_TABLE,
    ),
    "gemma3_text": Family(
        "gemma3", _doubt_gemma3, _describe_gemma3, _turn_gemma,
        ("query_pre_attn_scalar", "layer_types", "rope_parameters"), _GELU_TABLE,
    ),
    "gpt2": Family(
        "gpt2", _doubt_gpt2, _describe_gpt2, _turn_gpt2,
        ("n_positions", "n_inner", "activation_function", "vocab_size"), _GELU_TABLE,
    ),
}  # fmt: skip
"""By transformers' `model_type`."""
