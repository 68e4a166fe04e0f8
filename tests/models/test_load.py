"""What is saved loads in plain transformers with the same logits, wherever it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from hanji.contracts.errors import ConfigError, ModelError
from hanji.contracts.frame import Frame
from hanji.models.load import blank_model, load_model, save_model
from hanji.models.policies import CausalPolicy
from tiny_models import VOCABULARY, tiny


class Words:
    """As much of a tokenizer as a blank model needs."""

    vocabulary_size = VOCABULARY
    bos_id = 1
    eos_id = 2
    pad_id = 0
    mask_id = None
    frame = Frame(before=(1,), between=(), after=(), has_segments=False)


GENERATION = {"eos_token_id": [2, 3], "pad_token_id": 0, "bos_token_id": 1}


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mixtral"])
def test_saved_models_load_in_plain_transformers_with_the_same_logits(family: str, tmp_path: Path) -> None:
    policy = CausalPolicy(tiny(family), pad_id=0)  # leaves the model in our attention
    save_model(policy.model, tmp_path, generation=GENERATION, state=policy.model.state_dict())
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(3, 40)[None]
    torch.testing.assert_close(plain.eval()(ids).logits, tiny(family)(ids).logits, rtol=1e-5, atol=1e-5)
    assert plain.generation_config.eos_token_id == [2, 3]
    assert "hanji" not in (tmp_path / "config.json").read_text()
    assert not list(tmp_path.glob("*.bin"))


def test_the_same_seed_draws_the_same_weights_and_leaves_the_generator_alone() -> None:
    state = torch.get_rng_state()
    one, two, other = (blank_model("llama-nano", Words(), seed=seed) for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), state)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


@pytest.mark.parametrize(
    "spec",
    [
        "gpt2-nano",
        {"model_type": "qwen3", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    ],
    ids=["a preset", "a config"],
)
def test_blank_models_fit_their_tokenizer(spec: Any) -> None:
    model = blank_model(spec, Words())  # type: ignore[arg-type]
    assert model.config.vocab_size == VOCABULARY
    assert model.config.eos_token_id == 2


def test_a_blank_model_from_a_config_file_with_overrides(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tiny("llama").config.to_dict()))
    model = blank_model(str(config), Words(), overrides={"num_hidden_layers": 1})  # type: ignore[arg-type]
    assert model.config.num_hidden_layers == 1
    with pytest.raises(ConfigError, match="num_hidden_layers"):
        blank_model("llama-nano", Words(), overrides={"num_hiden_layers": 1})  # type: ignore[arg-type]


def test_nothing_to_load_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a directory with config\.json"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="no such GGUF"):
        load_model(tmp_path / "absent.gguf")


def test_weights_that_do_not_fill_the_model_are_refused(tmp_path: Path) -> None:
    model = tiny("llama")
    save_model(model, tmp_path, generation=GENERATION)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ModelError, match="are not in the file"):
        load_model(tmp_path)


@pytest.mark.slow
def test_gguf_is_dequantised_and_saved_again_as_safetensors(smollm2_gguf: Path, tmp_path: Path) -> None:
    model = load_model(smollm2_gguf).eval()
    save_model(model, tmp_path, generation={})
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.arange(100, 120)[None]
    torch.testing.assert_close(plain(ids).logits, model(ids).logits)
