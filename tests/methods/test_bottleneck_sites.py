"""Where bottleneck adapters go, and what is refused before a model is touched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from hanji.contracts.errors import ConfigError
from hanji.methods.bottleneck import BottleneckConfig
from hanji.methods.bottleneck.sites import feed_forward_input, linear_modules
from methods.bottleneck_models import DECODERS, ENCODERS, IDS, adapted, base_model, layers, logits

FEED_FORWARDS = {
    "gpt2": "transformer.h.0.mlp",
    "falcon": "transformer.h.0.mlp",
    "modernbert": "model.layers.0.mlp",
}
FEED_FORWARDS |= {
    "distilbert": "distilbert.transformer.layer.0.ffn",
    "bert": "bert.encoder.layer.0.intermediate",
}
FEED_FORWARDS |= {
    "roberta": "roberta.encoder.layer.0.intermediate",
    "electra": "electra.encoder.layer.0.intermediate",
}
FEED_FORWARDS |= {"albert": "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn"}


def refused(family: Any, **fields: Any) -> ConfigError:
    model = base_model(family) if isinstance(family, str) else family
    with pytest.raises(ConfigError) as raised:
        get_peft_model(model, BottleneckConfig(**{"reduction_factor": 4, **fields}))
    assert not layers(model)  # not touched
    return raised.value


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS])
def test_a_parallel_adapter_reads_what_the_feed_forward_reads(family: str) -> None:
    model = base_model(family)
    of_all = model.get_submodule(FEED_FORWARDS.get(family, "model.layers.0.mlp"))
    names = linear_modules(model)
    last = next(name for name in names if feed_forward_input(names, name) is not None)
    seen: dict[str, list[torch.Tensor]] = {"all": [], "first": []}
    of_all.register_forward_pre_hook(lambda _, inputs: seen["all"].append(inputs[0].clone()))
    first = model.get_submodule(feed_forward_input(names, last))
    first.register_forward_pre_hook(lambda _, inputs: seen["first"].append(inputs[0].clone()))
    logits(model)
    assert len(seen["all"]) == len(seen["first"]) > 0
    assert all(torch.equal(one, other) for one, other in zip(seen["all"], seen["first"], strict=True))


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS])
def test_houlsby_takes_the_last_projections_of_both_sublayers(family: str) -> None:
    """By running: each is adapted in every block, and an attention's comes before its feed-forward's."""
    model = adapted(family)
    order: list[str] = []
    for name, layer in layers(model).items():
        layer.register_forward_hook(lambda _, __, ___, name=name: order.append(name))
    logits(model)
    assert order == list(layers(model)) * (2 if family == "albert" else 1)  # ALBERT runs one block twice
    kinds = ["attention" if "att" in name else "feed-forward" for name in layers(model)]
    assert kinds == ["attention", "feed-forward"] * (1 if family == "albert" else 2)


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "mamba"])
@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
def test_a_model_without_known_places_is_refused_with_its_linear_modules(family: str, placement: str) -> None:
    error = refused(family, placement=placement)
    assert "do not each have one feed-forward" in error.problem
    assert ("mixer.out_proj" if family == "mamba" else "self_attn.o_proj") in error.expected
    assert "target_modules" in error.hint


def test_blocks_that_are_not_all_alike_are_refused() -> None:
    """DeepSeek's first block is dense, the others have experts: not the one alone, in silence."""
    shape = {"hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 16, "num_hidden_layers": 2}
    shape |= {
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "first_k_dense_replace": 1,
    }
    shape |= {
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    }
    shape |= {"n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "vocab_size": 50, "pad_token_id": 0}
    config = AutoConfig.for_model("deepseek_v3", **shape, bos_token_id=1, eos_token_id=2)
    error = refused(AutoModelForCausalLM.from_config(config), placement="pfeiffer")
    assert "model.layers.1" in error.expected
    assert "mlp.shared_experts.down_proj" in error.expected
    assert "which has no numbered blocks" in refused(nn.ModuleDict({"a": nn.Linear(8, 8)})).expected


def test_named_targets_and_layers() -> None:
    assert list(layers(adapted("llama", target_modules=["o_proj"], layers_to_transform=[1]))) == [
        "model.layers.1.self_attn.o_proj"
    ]
    both = adapted(
        "bert", "pfeiffer", target_modules=["bert.encoder.layer.0.output.dense", "intermediate.dense"]
    )
    assert list(layers(both)) == [
        "bert.encoder.layer.0.intermediate.dense",  # 64 wide, adapted at that width
        "bert.encoder.layer.0.output.dense",
        "bert.encoder.layer.1.intermediate.dense",
    ]
    assert both(input_ids=IDS).logits.isfinite().all()
    assert set(layers(adapted("mixtral", target_modules=["self_attn.o_proj"]))) == {
        "model.layers.0.self_attn.o_proj",
        "model.layers.1.self_attn.o_proj",
    }


def test_a_name_or_number_that_is_not_there_is_refused_with_what_is() -> None:
    error = refused("llama", target_modules=["o_proj", "mlp.dwon_proj"])
    assert error.value == "'mlp.dwon_proj'"
    assert error.hint == "did you mean mlp.down_proj?"
    assert error.expected == (
        "self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj, mlp.gate_proj, mlp.up_proj, "
        "mlp.down_proj, lm_head"
    )
    assert refused("llama", target_modules=["mlp"]).value == "'mlp'"  # there, but not linear
    error = refused("llama", layers_to_transform=[1, 2])
    assert (error.value, error.expected) == ("2", "0, 1")
    assert "which reads the module's own output" in refused(
        "llama", placement="parallel", target_modules=["o_proj"]
    ).hint  # fmt: skip
    assert "modules_to_save" in refused("llama", placement="pfeiffer", modules_to_save=["mlp"]).problem


def test_other_adapters_below_are_refused() -> None:
    model = get_peft_model(base_model("llama"), LoraConfig(target_modules=["down_proj"])).get_base_model()
    assert "another kind of adapter" in refused(model, placement="pfeiffer").problem


def test_a_bottleneck_is_at_least_one_wide() -> None:
    error = refused("llama", reduction_factor=33)
    assert (error.where, error.value, error.expected) == ("reduction_factor", "33", "at most 32")
    for factor, width in ((32, 1), (5, 6), (1, 32), (2.5, 12)):
        layer = next(iter(layers(adapted("llama", reduction_factor=factor)).values()))
        assert layer.bottleneck_down["default"].out_features == width


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("placement", "compacter"),
        ("activation", "gleu"),
        ("reduction_factor", 0.5),
        ("reduction_factor", float("nan")),
        ("reduction_factor", "16"),
        ("scaling", float("inf")),
        ("dropout", 1.0),
        ("target_modules", "all-linear"),
        ("target_modules", []),
        ("layers_to_transform", 3),
    ],
)
def test_a_field_that_no_model_could_serve_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as raised:
        BottleneckConfig(**{field: value})
    assert raised.value.where == field
    assert raised.value.expected
    if value == "gleu":
        assert raised.value.hint == "did you mean gelu?"


def test_many_targets_are_saved_by_name_in_order() -> None:
    names = [f"layers.{i}.{part}" for i in range(11) for part in ("self_attn.o_proj", "mlp.down_proj")]
    config = AutoConfig.for_model(
        "llama", hidden_size=8, intermediate_size=8, num_attention_heads=1, num_hidden_layers=11, vocab_size=9
    )
    model = get_peft_model(AutoModel.from_config(config), BottleneckConfig(reduction_factor=4))
    assert list(model.peft_config["default"].target_modules) == names == list(layers(model))


def test_two_of_a_kind_in_a_block_are_refused() -> None:
    decoder = base_model("bert", is_decoder=True, add_cross_attention=True)
    assert "crossattention.output.dense" in refused(decoder).expected
    assert len(layers(get_peft_model(decoder, BottleneckConfig(placement="pfeiffer")))) == 2


def test_a_further_adapter_leaves_alone_what_is_trained_whole() -> None:
    model = AutoModelForSequenceClassification.from_config(base_model("roberta").config)
    model = get_peft_model(model, BottleneckConfig(modules_to_save=["classifier"], reduction_factor=4))
    model.add_adapter("second", BottleneckConfig(placement="pfeiffer", target_modules=["dense"]))
    adapted_now = {name for name, layer in layers(model).items() if "second" in layer.parallel}
    assert len(adapted_now) == 6
    assert all(name.startswith("roberta.encoder.layer.") for name in adapted_now)
