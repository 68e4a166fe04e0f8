"""Presets: exact counts, names without heavy imports, and refusals that name the nearest right word."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from hanji.contracts.errors import ConfigError
from hanji.models.presets import PRESETS, find_preset, preset_config

SIZES = ["nano", "micro", "tiny", "small", "base", "medium", "large", "xl"]


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_those_of_the_model_itself(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(preset_config(name, vocab_size=1000))
    assert sum(parameter.numel() for parameter in model.parameters()) == find_preset(name).parameters(1000)


def test_each_family_grows_with_one_dial() -> None:
    for family in ("llama", "gpt2", "qwen3"):
        counts = [PRESETS[f"{family}-{size}"].non_embedding_parameters for size in SIZES]
        assert counts == sorted(counts)
        assert 0.3e6 < counts[0] < 0.5e6


def test_published_shapes_have_published_sizes() -> None:
    # GPT-2's first size has 124,439,808 parameters with 50,257 tokens; Qwen3-0.6B 596,049,920 with 151,936.
    assert find_preset("gpt2-base").parameters(50_257) == 124_439_808
    assert find_preset("qwen3-medium").parameters(151_936) == 596_049_920


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
