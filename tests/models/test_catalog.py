"""The catalog: parameters follow from the shapes, estimates agree with traces of the models themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hanji.contracts.errors import ConfigError
from hanji.models.catalog import (
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
    with pytest.raises(ConfigError, match="did you mean `smollm2-135m`"):
        find("SmolLM-135M")


def test_listing_needs_no_torch() -> None:
    code = "import hanji.models.catalog, sys; print({'torch', 'transformers'} & set(sys.modules))"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "set()"
