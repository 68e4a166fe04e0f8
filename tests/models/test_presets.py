"""Presets: exact counts, names without heavy imports, and refusals that name the nearest right word."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BertForPreTraining

from hanji.contracts.errors import ConfigError
from hanji.models.presets import PRESETS, find_preset, named_presets, preset_config

SIZES = ["nano", "micro", "tiny", "small", "base", "medium", "large", "xl"]
DECODERS = ("llama", "gpt2", "qwen3")
ENCODERS = ("bert", "modernbert")


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_those_of_the_model_itself(name: str) -> None:
    preset = find_preset(name)
    built = AutoModelForMaskedLM if preset.kind == "encoder" else AutoModelForCausalLM
    with torch.device("meta"):
        model = built.from_config(preset_config(name, vocab_size=1000))
    assert sum(parameter.numel() for parameter in model.parameters()) == preset.parameters(1000)
    grows = ("embeddings", "tok_embeddings", "embed_tokens", "wte", "wpe", "lm_head", "decoder")
    others = [
        parameter.numel()
        for name, parameter in model.named_parameters()
        if "norm" in name.lower() or not any(part.endswith(grows) for part in name.split("."))
        if name != "cls.predictions.bias"
    ]
    assert sum(others) == preset.non_embedding_parameters


def test_each_family_grows_with_one_dial() -> None:
    for family in (*DECODERS, *ENCODERS):
        presets = [PRESETS[f"{family}-{size}"] for size in SIZES if f"{family}-{size}" in PRESETS]
        counts = [preset.non_embedding_parameters for preset in presets]
        assert counts == sorted(counts)
        assert 0.3e6 < counts[0] < 0.5e6
        assert len(counts) == (8 if family in DECODERS else 6)
        assert {preset.kind for preset in presets} == {"decoder" if family in DECODERS else "encoder"}


def test_published_shapes_have_published_sizes() -> None:
    # GPT-2's first size has 124,439,808 parameters with 50,257 tokens; Qwen3-0.6B 596,049,920 with 151,936.
    assert find_preset("gpt2-base").parameters(50_257) == 124_439_808
    assert find_preset("qwen3-medium").parameters(151_936) == 596_049_920
    # ModernBERT has 149,655,232 and 395,881,664 parameters.
    assert find_preset("modernbert-base").parameters(50_368) == 149_655_232
    assert find_preset("modernbert-large").parameters(50_368) == 395_881_664


def test_bert_is_published_with_a_pooler_that_masked_models_have_not() -> None:
    """bert-base-uncased has 110,106,428 parameters, of which 592,130 tell whether texts follow each other."""
    with torch.device("meta"):
        model = BertForPreTraining(preset_config("bert-base", vocab_size=30_522))
    hidden = model.config.hidden_size
    assert sum(parameter.numel() for parameter in model.parameters()) == 110_106_428
    pooler = hidden**2 + 3 * hidden + 2
    assert find_preset("bert-base").parameters(30_522) == 110_106_428 - pooler


def test_encoders_are_those_that_were_published_without_dropout() -> None:
    bert = preset_config("bert-base", vocab_size=100)
    assert (bert.max_position_embeddings, bert.type_vocab_size) == (512, 2)
    assert bert.hidden_dropout_prob == bert.attention_probs_dropout_prob == 0.0
    for size in ("nano", "base"):
        config = preset_config(f"modernbert-{size}", vocab_size=100)
        assert config.local_attention == 128
        assert [kind == "full_attention" for kind in config.layer_types] == [
            index % 3 == 0 for index in range(config.num_hidden_layers)
        ]
        dropouts = {name: value for name, value in config.to_dict().items() if "dropout" in name}
        assert dropouts and not any(dropouts.values())
    assert config.max_position_embeddings == 8192


def test_names_are_listed_by_family() -> None:
    assert "bert-{nano,micro,tiny,small,base,large}" in named_presets()
    listed = {
        f"{family}-{size}"
        for part in named_presets().split(", ")
        for family, sizes in [part.rstrip("}").split("-{")]
        for size in sizes.split(",")
    }
    assert listed == set(PRESETS)


def test_names_can_be_listed_without_torch() -> None:
    code = "import hanji.models.presets, sys; print({'torch', 'transformers'} & set(sys.modules))"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "set()"


def test_a_config_takes_the_tokenizers_ids_and_overrides_by_either_name() -> None:
    config = preset_config(
        "gpt2-nano", vocab_size=77, overrides={"num_hidden_layers": 2, "n_embd": 120},
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    assert (config.vocab_size, config.n_layer, config.n_embd) == (77, 2, 120)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 0)
    assert config.resid_pdrop == 0.0


def test_encoders_take_the_ids_that_their_config_has_a_field_for() -> None:
    ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "mask_token_id": 4}
    modern = preset_config("modernbert-nano", vocab_size=50, **ids)
    assert (modern.pad_token_id, modern.cls_token_id, modern.sep_token_id) == (0, 2, 3)
    assert modern.bos_token_id is modern.eos_token_id is None
    assert not hasattr(modern, "mask_token_id")
    bert = preset_config("bert-nano", vocab_size=50, **ids)
    assert bert.pad_token_id == 0 and not hasattr(bert, "cls_token_id")
    esm = {"model_type": "esm", "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    assert preset_config(esm, vocab_size=50, **ids).mask_token_id == 4


@pytest.mark.parametrize(
    "model_type", ["modernbert", "modernbert-decoder", "big_bird", "eurobert", "gpt2", "bert"]
)
def test_no_id_of_a_class_points_past_the_vocabulary(model_type: str) -> None:
    config = preset_config({"model_type": model_type}, vocab_size=50)
    ids = {name: value for name, value in config.to_dict().items() if name.endswith("_token_id")}
    assert "pad_token_id" in ids
    assert all(value is None or 0 <= value < 50 for value in ids.values()), ids


def test_the_ids_of_a_published_config_are_not_taken_over(tmp_path: Path) -> None:
    old = {
        "model_type": "modernbert", "hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 4,
        "intermediate_size": 96, "global_attn_every_n_layers": 2, "vocab_size": 50_368,
        "cls_token_id": 50_281, "sep_token_id": 50_282, "pad_token_id": 50_283, "bos_token_id": 50_281,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(old))
    config = preset_config(tmp_path, vocab_size=40, cls_token_id=1)
    assert (config.vocab_size, config.cls_token_id, config.sep_token_id) == (40, 1, None)
    assert (config.pad_token_id, config.bos_token_id) == (None, None)
    assert config.layer_types == ["full_attention", "sliding_attention"] * 2


def test_a_vocabulary_may_be_larger_than_the_tokenizers_but_not_smaller() -> None:
    assert preset_config("llama-nano", vocab_size=100, overrides={"vocab_size": 128}).vocab_size == 128
    with pytest.raises(ConfigError, match="smaller than the tokenizer's"):
        preset_config("llama-nano", vocab_size=100, overrides={"vocab_size": 99})


def test_a_mapping_is_any_architecture_of_transformers() -> None:
    config = preset_config(
        {"model_type": "mistral", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1},
        vocab_size=50, overrides={"num_hidden_layers": 3},
    )  # fmt: skip
    assert (type(config).__name__, config.num_hidden_layers, config.vocab_size) == ("MistralConfig", 3, 50)


def test_a_config_file_gives_its_shape_and_not_its_vocabulary(tmp_path: Path) -> None:
    saved = preset_config("qwen3-nano", vocab_size=500, eos_token_id=9)
    saved.save_pretrained(tmp_path)
    for spec in (tmp_path, str(tmp_path / "config.json")):
        config = preset_config(spec, vocab_size=60, overrides={"num_hidden_layers": 2}, eos_token_id=3)
        assert (config.vocab_size, config.eos_token_id, config.hidden_size) == (60, 3, 96)
        assert len(config.layer_types) == config.num_hidden_layers == 2


@pytest.mark.parametrize(
    ("spec", "overrides", "said"),
    [
        ("llama-nan", {}, "did you mean `llama-nano`"),
        ("bert-smal", {}, "did you mean `bert-small`"),
        ("robert-nano", {}, r"bert-\{nano,"),
        ("modernbert-nano", {"sep_token_id": 3}, "follows from the tokenizer"),
        ("gpt2-nano", {"hidden_sze": 3}, "did you mean `hidden_size`"),
        ("llama-nano", {"num_hidden_layer": 3}, "did you mean `num_hidden_layers`"),
        ("llama-nano", {"eos_token_id": 3}, "follows from the tokenizer"),
        ("llama-nano", {"hidden_size": 100}, "not a multiple of the number of attention heads"),
        ("llama-nano", {"hidden_size": "wide"}, "expected int"),
        ({"model_type": "lama"}, {}, "did you mean `llama`"),
        ({"hidden_size": 3}, {}, "model_type"),
        ({"model_type": "llama", "hiden_size": 3}, {}, "did you mean `hidden_size`"),
    ],
)
def test_refusals_teach(spec: object, overrides: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        preset_config(spec, vocab_size=10, overrides=overrides)  # type: ignore[arg-type]


def test_a_config_file_that_is_none_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json"):
        preset_config(path, vocab_size=10)
    path.write_text(json.dumps({"hidden_size": 3}))
    with pytest.raises(ConfigError, match="model_type"):
        preset_config(path, vocab_size=10)
