"""GGUF files: what is in them, and that transformers (and llama.cpp, where it is) read the same model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from hanji.contracts.errors import ConfigError, ModelError
from hanji.export.exporting import export
from hanji.export.gguf import exporter, families
from hanji.tokenizers.tokenizer import Tokenizer

ROPE3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, untied, with biases": (
        "llama", {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}
    ),
    "llama, wide heads": ("llama", {"head_dim": 16}),
    "llama 3's rope": ("llama", {"rope_parameters": ROPE3}),
    "linear rope": (
        "llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}
    ),
    "llama, padded vocabulary": ("llama", {"vocab_size": 384}),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "gpt2": ("gpt2", {}),
    "gemma2": ("gemma2", GEMMA),
    "gemma3": ("gemma3_text", {**GEMMA, "num_hidden_layers": 7}),
}  # fmt: skip


def fields(file: Path) -> dict[str, Any]:
    """The head of a file, by gguf's own reader."""
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}


@pytest.mark.parametrize("case", CASES)
def test_every_family_is_read_back_the_same(
    case: str, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    family, changes = CASES[case]
    made = export(str(make_model(family, **changes)), "gguf", tmp_path / "model.gguf")
    differences = [c.difference for c in made.comparisons if c.difference is not None]
    assert made.comparisons[0].reader.startswith("transformers")
    assert differences[0] <= 1e-6  # the same numbers, in the same order
    assert all(difference < 1e-3 for difference in differences)
    assert made.path.is_file() and [*tmp_path.iterdir()] == [made.path]


@pytest.mark.parametrize(("type", "kinds"), [("f16", {"F16", "F32"}), ("q8_0", {"Q8_0", "F32"})])
def test_smaller_types_are_close(type: str, kinds: set[str], llama: Path, tmp_path: Path) -> None:
    made = export(str(llama), "gguf", tmp_path / "model.gguf", type=type)
    reader = gguf.GGUFReader(made.path)
    assert {tensor.tensor_type.name for tensor in reader.tensors} == kinds
    assert all(t.tensor_type.name == "F32" for t in reader.tensors if len(t.shape) == 1)
    weight = AutoModelForCausalLM.from_pretrained(llama).model.layers[0].mlp.gate_proj.weight.detach().numpy()
    (stored,) = [t for t in reader.tensors if t.name == "blk.0.ffn_gate.weight"]
    found = gguf.dequantize(stored.data, stored.tensor_type)
    assert 0 < np.abs(found - weight).max() < np.abs(weight).max() / 127


def test_rows_that_are_no_multiple_of_32_stay_in_16_bits(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    made = export(str(make_model("llama", intermediate_size=44)), "gguf", tmp_path / "m.gguf", type="q8_0")
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(made.path).tensors}
    assert kinds["blk.0.ffn_down.weight"] == "F16" and kinds["blk.0.ffn_up.weight"] == "Q8_0"


def test_the_head_says_what_the_model_is(tokenizer: Tokenizer, llama: Path, tmp_path: Path) -> None:
    export(str(llama), "gguf", tmp_path / "model.gguf")
    said = fields(tmp_path / "model.gguf")
    assert said["general.architecture"] == "llama"
    assert said["llama.rope.dimension_count"] == said["llama.attention.key_length"] == 8
    assert said["llama.attention.head_count_kv"] == 2
    assert said["tokenizer.ggml.model"] == "gpt2" and said["tokenizer.ggml.pre"] == "llama-bpe"
    assert said["tokenizer.ggml.bos_token_id"] == tokenizer.bos_id and said["tokenizer.ggml.add_bos_token"]
    assert said["tokenizer.ggml.eos_token_id"] == tokenizer.eos_id
    assert said["tokenizer.ggml.eot_token_id"] == tokenizer.hf.convert_tokens_to_ids("<|im_end|>")
    assert said["tokenizer.ggml.tokens"] == tokenizer.hf.convert_ids_to_tokens(
        list(range(tokenizer.vocabulary_size))
    )
    assert {i for i, kind in enumerate(said["tokenizer.ggml.token_type"]) if kind == 3} == set(
        tokenizer.special_ids
    )
    assert "generation" not in said["tokenizer.chat_template"].replace("add_generation_prompt", "")
    names = {t.name for t in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert "output.weight" not in names  # it is the embedding


def test_a_padded_vocabulary_has_a_name_for_every_row(
    tokenizer: Tokenizer, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    export(str(make_model("llama", vocab_size=384)), "gguf", tmp_path / "model.gguf")
    said = fields(tmp_path / "model.gguf")
    assert said["llama.vocab_size"] == len(set(said["tokenizer.ggml.tokens"])) == 384
    assert set(said["tokenizer.ggml.token_type"][tokenizer.vocabulary_size :]) == {gguf.TokenType.UNUSED}


def test_the_tokenizer_is_read_back_with_the_same_ids(
    tokenizer: Tokenizer, llama: Path, tmp_path: Path
) -> None:
    export(str(llama), "gguf", tmp_path / "model.gguf")
    read = Tokenizer.load(tmp_path / "model.gguf")
    texts = ["A folded boat, 12,345 times.", "한지는 종이다", "def f(x):\n\treturn x", "🌊<|im_end|>"]
    found, expected = read.encode_texts(texts), tokenizer.encode_texts(texts)
    assert [part.tolist() for part in found] == [part.tolist() for part in expected]


def test_a_wrong_turn_of_a_matrix_is_found_and_nothing_is_kept(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(families.FAMILIES["llama"], turn=lambda name, weight, config: weight)
    monkeypatch.setitem(exporter.FAMILIES, "llama", wrong)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="is not the model"):
        export(str(llama), "gguf", tmp_path / "model.gguf")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "rope_type",
        ),
        ("mistral", {"sliding_window": 16}, "sliding_window"),
        ("qwen3", {"attention_bias": True}, "attention_bias"),
        ("gpt2", {"activation_function": "relu"}, "activation_function"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gemma2", {**GEMMA, "query_pre_attn_scalar": 64}, "query_pre_attn_scalar"),
        ("gemma3_text", {**GEMMA, "layer_types": ["full_attention"] * 2}, "layer_types"),
        ("granite", {}, "family"),
        ("llama", {"vocab_size": 300, "pad_token_id": None}, "more tokens than the model's embedding"),
    ],
)
def test_what_llama_cpp_does_not_compute_is_refused_by_name(
    family: str, changes: dict[str, Any], named: str, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        export(str(make_model(family, **changes)), "gguf", tmp_path / "model.gguf")
    assert named in refused.value.problem
    assert not [*tmp_path.iterdir()]


def test_a_classifier_is_refused(make_model: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="classification head"):
        export(str(make_model("llama", classes=3)), "gguf", tmp_path / "model.gguf")


def test_an_unknown_type_is_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="q4_k"):
        export(str(llama), "gguf", tmp_path / "model.gguf", type="q4_k")
