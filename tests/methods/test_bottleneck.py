"""Bottleneck adapters: their numbers against references, and their life as any tuner of PEFT."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.activations import ACT2FN

from hanji.contracts.errors import ConfigError
from hanji.methods.bottleneck import BottleneckConfig
from methods.bottleneck_models import (
    DECODERS,
    ENCODERS,
    IDS,
    PLACEMENTS,
    adapted,
    base_model,
    layers,
    logits,
    stir,
)  # fmt: skip
from methods.reference_adapters import ACTIVATION, CASES, REDUCTION, SCALING, fill_adapter
from methods.reference_adapters import IDS as REFERENCE_IDS
from methods.reference_adapters import base_model as reference_model

REFERENCE = json.loads(Path(__file__).with_name("reference_adapters.json").read_text(encoding="utf-8"))
FAMILIES = (*DECODERS, *ENCODERS)


@pytest.mark.parametrize(("family", "placement"), CASES)
def test_numbers_equal_those_of_the_library_adapters(family: str, placement: str) -> None:
    config = BottleneckConfig(
        placement=placement, reduction_factor=REDUCTION, scaling=SCALING, activation=ACTIVATION
    )
    model = get_peft_model(reference_model(family), config).eval()
    for name, layer in layers(model).items():
        block, role = re.search(r"\.(\d+)\.", name)[1], "attention" if "att" in name else "feed_forward"
        fill_adapter(layer.bottleneck_down["default"], layer.bottleneck_up["default"], int(block), role)
    with torch.no_grad():
        ours = model(REFERENCE_IDS).last_hidden_state[0]
    theirs = torch.tensor(REFERENCE[f"{family} {placement}"], dtype=torch.float64)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)  # kept with 10 digits


def _by_hand(model: Any, family: str, f: Any) -> torch.Tensor:
    """The last hidden states, from the plain model's parts; f(name, h) is what the bottleneck there adds."""
    if family == "bert":
        h = model.embeddings(IDS)
        for i, block in enumerate(model.encoder.layer):
            at = f"encoder.layer.{i}."
            a = block.attention.output.dense(block.attention.self(h)[0])
            h = block.attention.output.LayerNorm(h + a + f(at + "attention.output.dense", a, None))
            m = block.output.dense(block.intermediate(h))
            h = block.output.LayerNorm(h + m + f(at + "output.dense", m, h))
        return h
    if family == "gpt2":
        h = model.wte(IDS) + model.wpe(torch.arange(IDS.shape[1]))
        for i, block in enumerate(model.h):
            a = block.attn(block.ln_1(h))[0]
            h = h + a + f(f"h.{i}.attn.c_proj", a, None)
            x = block.ln_2(h)
            m = block.mlp(x)
            h = h + m + f(f"h.{i}.mlp.c_proj", m, x)
        return model.ln_f(h)
    h = model.embed_tokens(IDS)
    turns = model.rotary_emb(h, torch.arange(IDS.shape[1])[None])
    for i, block in enumerate(model.layers):
        a = block.self_attn(block.input_layernorm(h), position_embeddings=turns, attention_mask=None)[0]
        h = h + a + f(f"layers.{i}.self_attn.o_proj", a, None)
        x = block.post_attention_layernorm(h)
        m = block.mlp(x)
        h = h + m + f(f"layers.{i}.mlp.down_proj", m, x)
    return model.norm(h)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_numbers_equal_the_formula_by_hand(family: str, placement: str) -> None:
    model = adapted(family, placement, scaling=0.7, activation="relu").double()
    found = {name.partition(".")[2]: layer for name, layer in layers(model).items()}

    def added(name: str, h: torch.Tensor, x: torch.Tensor | None) -> torch.Tensor | float:
        if name not in found:
            return 0.0
        down, up = (part["default"] for part in (found[name].bottleneck_down, found[name].bottleneck_up))
        read = x if placement == "parallel" else h
        return 0.7 * (torch.relu(read @ down.weight.T + down.bias) @ up.weight.T + up.bias)

    inner = model.get_base_model().base_model
    with torch.no_grad():
        with_adapters = inner(IDS).last_hidden_state
        plain = model.unload().base_model
        torch.testing.assert_close(with_adapters, _by_hand(plain, family, added), rtol=1e-11, atol=1e-11)
    assert len(found) == (4 if placement == "houlsby" else 2)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_saves_loads_switches_off_and_unloads(
    family: str, placement: str, tmp_path: Path
) -> None:
    model = base_model(family)
    plain, modules = logits(model), str(model)
    model = get_peft_model(model, BottleneckConfig(placement=placement, reduction_factor=4)).eval()
    assert torch.equal(logits(model), plain)  # an adapter starts as none
    stir(model)
    changed = logits(model)
    assert (changed - plain).abs().max() > 1e-3
    assert torch.equal(logits(model.get_base_model()), changed)
    with model.disable_adapter():
        assert torch.equal(logits(model), plain)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(base_model(family), tmp_path).eval()
    assert torch.equal(logits(again), changed)
    base = model.unload()
    assert torch.equal(logits(base), plain)
    assert str(base) == modules
    assert not any(module._forward_pre_hooks for module in base.modules())


def test_what_is_saved_is_named_and_told_as_by_any_tuner(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    adapted("gpt2", "pfeiffer", layers_to_transform=[1]).save_pretrained(tmp_path)
    at = "base_model.model.transformer.h.1.mlp.c_proj.bottleneck_"
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in load_file(tmp_path / "adapter_model.safetensors").items()
    }
    assert shapes == {
        f"{at}down.weight": (8, 32), f"{at}down.bias": (8,), f"{at}up.weight": (32, 8), f"{at}up.bias": (32,)
    }  # fmt: skip
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["peft_type"] == "BOTTLENECK"
    assert config["target_modules"] == ["transformer.h.1.mlp.c_proj"]
    assert (config["placement"], config["reduction_factor"]) == ("pfeiffer", 4)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_only_adapters_learn_and_both_their_matrices_do(placement: str) -> None:
    model = get_peft_model(base_model("llama"), BottleneckConfig(placement=placement, reduction_factor=4))
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learns == {name for name, _ in model.named_parameters() if ".bottleneck_" in name}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for _ in range(2):  # in the first step the down-projection waits for the up-projection to leave zero
        optimizer.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    assert all(p.grad.abs().max() > 0 for n, p in model.named_parameters() if n in learns)


@pytest.mark.parametrize("family", ["llama", "bert"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_gradients_are_the_same_under_gradient_checkpointing(family: str, placement: str) -> None:
    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        model = adapted(family, placement)
        if checkpointing:
            model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model(input_ids=IDS, labels=IDS).loss.backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    plain, recomputed = gradients(False), gradients(True)
    assert len(plain) == (16 if placement == "houlsby" else 8)
    torch.testing.assert_close(recomputed, plain)


def test_dropout_drops_units_of_the_bottleneck_in_training_only() -> None:
    model = adapted("llama", "pfeiffer", dropout=0.5, activation="relu")
    assert torch.equal(logits(model), logits(adapted("llama", "pfeiffer", activation="relu")))
    layer = next(iter(layers(model).values())).train()
    layer.bottleneck_up["default"].weight.data = torch.eye(32, 8)
    layer.bottleneck_up["default"].bias.data.zero_()
    layer.bottleneck_down["default"].bias.data.fill_(100.0)  # every unit is on
    h = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    units = (layer(h) - layer.base_layer(h))[:, :8]
    whole = torch.relu(layer.bottleneck_down["default"](layer.base_layer(h)))
    kept = units.abs() > 1
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(units[kept], 2 * whole[kept], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_autocast_and_half_precision_bases(family: str, placement: str) -> None:
    exact = logits(adapted(family, placement))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(logits(adapted(family, placement)).float(), exact, rtol=0.05, atol=0.15)
    half = base_model(family).bfloat16()
    plain = logits(half)
    model = get_peft_model(half, BottleneckConfig(placement=placement, reduction_factor=4)).eval()
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}  # as all of PEFT's
    assert torch.equal(logits(model), plain)
    stir(model)
    assert logits(model).dtype == torch.bfloat16
    torch.testing.assert_close(logits(model).float(), exact, rtol=0.05, atol=0.15)
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=IDS, labels=IDS).loss.backward()


def test_several_adapters_take_turns_add_up_and_go() -> None:
    model, alone = base_model("bert"), {}
    plain = logits(model)
    placed = {"default": ("houlsby", "gelu"), "beside": ("parallel", "relu"), "few": ("pfeiffer", "prelu")}

    def config(name: str) -> BottleneckConfig:
        placement, activation = placed[name]
        return BottleneckConfig(placement=placement, activation=activation, reduction_factor=4)

    for seed, name in enumerate(placed):
        other = get_peft_model(base_model("bert"), config(name))
        stir(other, seed=seed)
        alone[name] = logits(other.eval())
    model = get_peft_model(model, config("default")).eval()
    for name in ("beside", "few"):
        model.add_adapter(name, config(name))
    for seed, name in enumerate(placed):
        of_it = [layer for layer in layers(model).values() if name in layer.parallel]
        stir(nn.ModuleList(of_it), name, seed)
    for name in ("", "few", "beside", "default"):  # first as it was made: with the first adapter active
        if name:
            model.set_adapter(name)
        name = name or "default"
        assert torch.equal(logits(model), alone[name])
        assert {n for n, p in model.named_parameters() if p.requires_grad} == {
            n for n, _ in model.named_parameters() if f".{name}." in n
        }
    with model.disable_adapter():
        assert torch.equal(logits(model), plain)
    last = layers(model)["bert.encoder.layer.1.output.dense"]
    x, h = torch.randn(2, 3, 32), torch.randn(2, 3, 64)
    added = {}
    for names in (["default"], ["beside"], ["default", "beside"]):
        model.base_model.set_adapter(names)
        model.get_base_model().bert.encoder.layer[1].intermediate.dense(x)
        added[tuple(names)] = last(h) - last.base_layer(h)
    torch.testing.assert_close(added["default", "beside"], added["default",] + added["beside",])
    model.set_adapter("few")
    model.delete_adapter("beside")
    model.delete_adapter("default")
    assert torch.equal(logits(model), alone["few"])
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert model.get_model_status().available_adapters == ["few"]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_packed_rows_do_not_see_each_other_with_any_attention(placement: str) -> None:
    model = adapted("llama", placement)
    packed, positions = IDS.reshape(1, -1), torch.arange(9).repeat(2)[None]
    for attention in ("sdpa", "eager"):
        model.get_base_model().set_attn_implementation(attention)
        alone = logits(model).reshape(1, -1, 211)
        torch.testing.assert_close(
            logits(model, packed, position_ids=positions, use_cache=False), alone, rtol=1e-5, atol=1e-5
        )


def test_a_feed_forward_in_chunks_and_a_copied_model() -> None:
    whole = adapted("bert", "parallel")
    chunked = get_peft_model(
        base_model("bert", chunk_size_feed_forward=3),
        BottleneckConfig(placement="parallel", reduction_factor=4),
    ).eval()
    stir(chunked)
    torch.testing.assert_close(logits(chunked), logits(whole), rtol=1e-5, atol=1e-5)
    whole(input_ids=IDS)  # with a graph: a tensor of it that was kept could not be copied
    twin = copy.deepcopy(whole)
    for layer in layers(whole).values():  # the twin must not listen to the original's feed-forwards
        layer.stop_catching()
    assert torch.equal(logits(twin), logits(adapted("bert", "parallel")))
    with pytest.raises(ConfigError, match="does not see what its feed-forward reads"):
        logits(whole)


@pytest.mark.parametrize("activation", ACT2FN)
def test_every_activation_of_transformers(activation: str, tmp_path: Path) -> None:
    model = adapted("llama", "pfeiffer", activation=activation)
    layer = layers(model)["model.layers.0.mlp.down_proj"]
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    for parameter in layer.bottleneck_activation.parameters():  # a few learn something
        assert parameter.requires_grad
        parameter.data += 0.125
    with torch.no_grad():
        h = layer.base_layer(x)
        hidden = layer.bottleneck_down["default"](h)
        after = (
            layer.bottleneck_activation["default"] if activation in ("prelu", "xielu") else ACT2FN[activation]
        )
        torch.testing.assert_close(layer(x), h + layer.bottleneck_up["default"](after(hidden)))
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(base_model("llama"), tmp_path, low_cpu_mem_usage=True).eval()
    assert torch.equal(logits(again), logits(model))


def test_a_classifier_keeps_its_head(tmp_path: Path) -> None:
    def classifier() -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return AutoModelForSequenceClassification.from_config(base_model("bert").config).eval()

    model = get_peft_model(classifier(), BottleneckConfig(task_type="SEQ_CLS", reduction_factor=4)).eval()
    stir(model)
    head = model.get_base_model().classifier.modules_to_save["default"]
    assert head.weight.requires_grad
    head.weight.data += 1
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(classifier(), tmp_path, adapter_name="other").eval()
    assert torch.equal(logits(again), logits(model))


def test_merging_is_refused_with_what_to_do_instead() -> None:
    model = adapted("llama")
    before = logits(model)
    layer = next(iter(layers(model).values()))
    for merge in (model.merge_and_unload, model.merge_adapter, layer.merge):
        with pytest.raises(ConfigError, match="cannot be merged") as refused:
            merge()
        assert "non-linear" in refused.value.expected
        assert "lora" in refused.value.hint
    assert torch.equal(logits(model), before)


def test_rows_of_a_batch_share_their_adapter() -> None:
    with pytest.raises(ConfigError, match="rows of one batch"):
        logits(adapted("llama"), adapter_names=["default", "__base__"])
