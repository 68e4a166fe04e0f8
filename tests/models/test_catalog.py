"""The catalog: parameters follow from the shapes, estimates agree with traces of the models themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForMaskedLM

from hanji.contracts.errors import ConfigError
from hanji.models.catalog import (
    LORA_RANK,
    METHODS,
    OPEN_MODELS,
    find,
    fitting_parameters,
    fitting_tokens,
    trainable_parameters,
    training_bytes,
)
from hanji.models.presets import PRESETS, preset_config
from hanji.recipes.plan.trace import StepShape, trace_step


@pytest.mark.parametrize("name", OPEN_MODELS)
def test_published_parameters_follow_from_the_shape(name: str) -> None:
    model = OPEN_MODELS[name]
    counted = model.shape.parameters(model.vocab_size)
    if name.startswith("Qwen2.5"):  # a Llama with biases on queries, keys and values
        heads = model.shape.heads + 2 * model.shape.key_value_heads
        counted += model.shape.layers * heads * model.shape.head_size
    assert counted == model.parameters


@pytest.mark.parametrize("name", ["llama-tiny", "gpt2-micro", "qwen3-small", "llama-medium"])
def test_estimates_agree_with_a_trace(name: str) -> None:
    tokens = 2048
    trace = trace_step(preset_config(name, vocab_size=2000), StepShape((512,) * 4, tokens - 4, True))
    estimate = training_bytes(PRESETS[name], PRESETS[name].parameters(2000), "full", tokens)
    assert estimate == pytest.approx(trace.peak_bytes, rel=0.15)


@pytest.mark.parametrize("name", ["bert-micro", "bert-tiny", "modernbert-micro", "modernbert-tiny"])
def test_estimates_of_encoders_agree_with_what_autograd_keeps(name: str) -> None:
    model = AutoModelForMaskedLM.from_config(preset_config(name, vocab_size=200)).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.Tensor] = {}  # held, so that no storage is used twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.base_model(input_ids=torch.zeros(8, 64, dtype=torch.int64))
    measured = sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)
    parameters = PRESETS[name].parameters(200)
    estimate = training_bytes(PRESETS[name], parameters, "full", 8 * 64) - 16 * parameters
    assert estimate == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("name", ["bert-nano", "modernbert-nano"])
def test_matrices_of_encoders_get_lora_as_they_stand(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(preset_config(name, vocab_size=200))
    blocks = [
        module
        for path, module in model.base_model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layer" in f".{path}"
    ]
    expected = sum(LORA_RANK * (matrix.in_features + matrix.out_features) for matrix in blocks)
    assert len(blocks) == PRESETS[name].layers * (6 if name.startswith("bert") else 4)
    assert trainable_parameters(PRESETS[name], 0, "lora") == expected


def test_methods_that_learn_less_need_less() -> None:
    model = OPEN_MODELS["SmolLM2-135M"]
    needs = {method: training_bytes(model.shape, model.parameters, method, 1024) for method in METHODS}
    assert max(needs, key=lambda method: needs[method]) == "full"
    assert needs["prompt"] < needs["lora"] < needs["full"]
    # rank 16 beside each of the seven matrices of a block: r·(in + out), and 30 blocks
    per_block = 16 * (2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536))
    assert trainable_parameters(model.shape, model.parameters, "lora") == 30 * per_block


def test_tokens_and_parameters_fit_each_other() -> None:
    assert fitting_tokens(1_000_000) == 20_000_000
    assert fitting_parameters(fitting_tokens(123_456)) == 123_456


def test_names_are_found_and_near_ones_suggested() -> None:
    assert find("qwen3-0.6b") is OPEN_MODELS["Qwen3-0.6B"]
    assert find("HuggingFaceTB/SmolLM2-135M-Instruct") is OPEN_MODELS["SmolLM2-135M"]
    assert find("llama-nano") is PRESETS["llama-nano"]
    assert find("KLUE/bert-base") is OPEN_MODELS["KLUE-BERT"]
    with pytest.raises(ConfigError, match="did you mean `smollm2-135m`"):
        find("SmolLM-135M")


def test_open_models_are_listed_from_the_smallest_on() -> None:
    sizes = [model.parameters for model in OPEN_MODELS.values()]
    assert sizes == sorted(sizes)
    encoders = [model for model in OPEN_MODELS.values() if model.shape.kind == "encoder"]
    assert len(encoders) == 5 and not any(model.chat for model in encoders)
    assert any(model.korean for model in encoders)


def test_listing_needs_no_torch() -> None:
    code = "import hanji.models.catalog, sys; print({'torch', 'transformers'} & set(sys.modules))"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "set()"
