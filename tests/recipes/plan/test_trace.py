"""Traces against the real thing: the same step on real tensors, and formulas from papers."""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from hanji.contracts.batch import IGNORED, Batch
from hanji.contracts.protocols import Head
from hanji.methods import METHODS
from hanji.models.heads import CLASSES
from hanji.models.policies import CausalPolicy
from hanji.models.presets import PRESETS, preset_config
from hanji.recipes.plan.trace import CannotTrace, Learning, StepShape, count_parameters, trace_step

LENGTHS = (24, 40)


def shape(**changes: object) -> StepShape:
    settings: dict[str, object] = {"lengths": LENGTHS, "trained": sum(LENGTHS) - 2, "accumulates": False}
    return StepShape(**(settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["llama-nano", "gpt2-nano", "qwen3-nano"])
def test_parameters_and_weights_are_exact(name: str) -> None:
    config = preset_config(name, vocab_size=300)
    trace = trace_step(config, shape())
    assert trace.parameters == trace.trainable == count_parameters(config) == PRESETS[name].parameters(300)
    model = AutoModelForCausalLM.from_config(config)
    held = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
    assert trace.memory["weights"] == held


def test_products_are_those_that_a_real_step_computes() -> None:
    config = preset_config("llama-nano", vocab_size=300)
    trace = trace_step(config, shape())
    policy = CausalPolicy(AutoModelForCausalLM.from_config(config), pad_id=0)
    ids = torch.randint(1, 300, (sum(LENGTHS),))
    labels = ids.roll(-1)
    labels[torch.tensor(LENGTHS).cumsum(0) - 1] = IGNORED
    with FlopCounterMode(display=False) as counter:
        policy.negative_log_likelihood(Batch(ids, labels, LENGTHS))["nll"].backward()
    real = sum(
        count for operation, count in counter.get_flop_counts()["Global"].items() if "mm" in str(operation)
    )
    # the counter does not know addmm_ in place, with which the head adds up its matrix's gradient
    head = 2 * (sum(LENGTHS) - 2) * 300 * 96
    traced = sum(item.flops for item in trace.micro_batch if item.kind == "matmul")
    assert traced == real + head


def test_operations_a_token_are_about_six_for_each_weight() -> None:
    # Kaplan et al. 2020: 6 N for the matrices; the embedding is looked up, the tied head is a product
    config = preset_config("gpt2-micro", vocab_size=2000)
    trace = trace_step(config, shape(lengths=(32,) * 4, trained=124))
    matrices = PRESETS["gpt2-micro"].non_embedding_parameters + 2000 * 192
    assert trace.flops_per_token == pytest.approx(6 * matrices, rel=0.03)


def test_states_and_gradients_by_optimizer() -> None:
    config = preset_config("llama-nano", vocab_size=300)
    adamw = trace_step(config, shape(accumulates=True))
    muon = trace_step(config, shape(accumulates=True, optimizer="muon"))
    weights = 4 * adamw.parameters
    assert adamw.memory["gradients"] == pytest.approx(weights, rel=0.01)
    assert adamw.memory["optimizer"] == pytest.approx(2 * weights, rel=0.01)
    assert weights < muon.memory["optimizer"] < 1.3 * weights  # matrices of the blocks have one state


def test_deep_models_are_extrapolated_exactly() -> None:
    config = preset_config("llama-nano", vocab_size=300, overrides={"num_hidden_layers": 6})
    deeper = preset_config("llama-nano", vocab_size=300, overrides={"num_hidden_layers": 7})
    at_six, at_seven = trace_step(config, shape()), trace_step(deeper, shape())  # traced; extrapolated
    eight = trace_step(
        preset_config("llama-nano", vocab_size=300, overrides={"num_hidden_layers": 8}), shape()
    )
    assert at_seven.parameters == count_parameters(deeper)
    grown, grown_again = (at_seven.peak_bytes - at_six.peak_bytes, eight.peak_bytes - at_seven.peak_bytes)
    assert grown == pytest.approx(grown_again, rel=0.02)
    assert eight.flops_per_token - at_seven.flops_per_token == pytest.approx(
        at_seven.flops_per_token - at_six.flops_per_token, rel=1e-6
    )


def test_checkpointing_trades_memory_for_work() -> None:
    config = preset_config("llama-nano", vocab_size=300)
    plain, checkpointed = (
        trace_step(config, shape()),
        trace_step(config, shape(activation_checkpointing=True)),
    )
    assert checkpointed.memory["activations"] < 0.6 * plain.memory["activations"]
    assert 1.15 < checkpointed.flops_per_token / plain.flops_per_token < 1.4


def test_frozen_parameters_are_seen() -> None:
    def freeze(model: torch.nn.Module) -> torch.nn.Module:
        model.requires_grad_(False)
        model.model.layers[-1].requires_grad_(True)  # type: ignore[union-attr, operator, index]
        return model

    trace = trace_step(preset_config("llama-nano", vocab_size=300), shape(learning=Learning(adapt=freeze)))
    last = 4 * 96 * 96 + 3 * 96 * 256 + 2 * 96
    assert trace.trainable == last
    assert trace.memory["optimizer"] == pytest.approx(8 * last, rel=0.02)


def test_a_model_that_looks_at_values_is_refused_by_name() -> None:
    def look(model: torch.nn.Module) -> torch.nn.Module:
        assert next(model.parameters()).sum().item() > 0
        return model

    with pytest.raises(CannotTrace, match="llama"):
        trace_step(preset_config("llama-nano", vocab_size=300), shape(learning=Learning(adapt=look)))


@pytest.mark.parametrize("head", ["causal", "classification"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("freeze", {}),
        ("adapter", {}),
        ("prompt", {}),
        ("lora", {}),
        ("lora", {"start": "pissa"}),
        ("qlora", {}),
    ],
)
def test_every_method_is_traced_and_what_learns_is_counted(
    method: str, options: dict[str, Any], head: Head
) -> None:
    """PEFT moves modules, which fake parameters cannot stand: once it ended in a crash of the process."""
    config = preset_config("llama-nano", vocab_size=300, pad_token_id=0)
    made = partial(METHODS.load(method), **options)
    trace = trace_step(config, shape(learning=Learning(head, made().apply)))
    with torch.device("meta"):
        model = made().apply(CLASSES[head].from_config(config))
    learns = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 0 < trace.trainable == learns < trace.parameters


def test_a_base_in_4_bits_is_counted_as_such() -> None:
    """4 bits a value, 8 for each 64 of them, 32 for each 256 of those; and 1,028 bytes for each matrix."""
    config = preset_config("llama-nano", vocab_size=300)
    learning = Learning(adapt=METHODS.load("qlora")(rank=4).apply)
    beside = Learning(adapt=METHODS.load("lora")(rank=4).apply)
    quantised, plain = (trace_step(config, shape(learning=each)) for each in (learning, beside))
    blocks = CLASSES["causal"].from_config(config).model.layers
    sizes = [part.weight.numel() for part in blocks.modules() if isinstance(part, torch.nn.Linear)]
    packed = sum(size / 2 + ceil(size / 64) + 4 * ceil(size / 64 / 256) + 1028 for size in sizes)
    saved = plain.memory["weights"] - quantised.memory["weights"]
    assert saved == 4 * sum(sizes) - packed
    assert quantised.parameters == plain.parameters and quantised.trainable == plain.trainable
