"""QLoRA: the layers against bitsandbytes' own, what is kept for the backward pass, merging, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from hanji.contracts.errors import ConfigError
from hanji.methods import quantised
from hanji.methods.qlora import Qlora
from hanji.methods.quantised import QuantisedLinear, parameter_count, quantise, quantization_of
from hanji.models.heads import CLASSES
from tiny_models import tiny

IDS = torch.arange(3, 19)[None]


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits  # type: ignore[no-any-return]


def moved(model: Any) -> Any:
    """As after some training."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def in_4_bits(model: Any) -> Any:
    quantise(model, quantization_of(model))
    return model


def linear(out: int, into: int) -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(into, out)


@pytest.mark.parametrize("shape", [(24, 64), (5, 96), (130, 40)])
def test_a_layer_is_that_of_bitsandbytes(shape: tuple[int, int]) -> None:
    """In training, where it computes in fp32; outputs, and gradients of what the layer reads."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    plain = linear(*shape)
    theirs = Linear4bit(shape[1], shape[0], compute_dtype=torch.float32, quant_type="nf4")
    theirs.weight = Params4bit(plain.weight.data.clone(), quant_type="nf4", compress_statistics=True).to(
        "cpu"
    )
    theirs.bias.data.copy_(plain.bias.data)
    ours = QuantisedLinear(plain)
    found = []
    for layer in (ours, theirs):
        read = torch.randn(3, 7, shape[1], generator=torch.Generator().manual_seed(3)).requires_grad_()
        output = layer(read)
        output.square().sum().backward()
        found.append((output.detach(), read.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
    assert 1e-3 < (ours.weight - plain.weight).abs().max().item() < 0.1


def test_the_matrix_is_not_kept_for_the_backward_pass() -> None:
    layer, kept = QuantisedLinear(linear(512, 256)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        output = layer(torch.randn(2, 256, requires_grad=True))
    output.sum().backward()
    assert sum(kept) < layer.weight.nbytes / 8
    assert sum(part.nbytes for part in layer.buffers()) < 1.3 * layer.weight.nbytes / 7.75


def test_matrices_are_the_same_each_time_and_whatever_the_model_is_cast_to() -> None:
    first, again = QuantisedLinear(linear(24, 64)), QuantisedLinear(linear(24, 64))
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(again.to(torch.bfloat16).weight, first.weight)
    assert again.bias.dtype == torch.bfloat16
    half = linear(24, 64).to(torch.bfloat16)
    assert torch.equal(QuantisedLinear(half).weight, QuantisedLinear(half.float()).weight)


def test_under_autocast_it_computes_in_bfloat16() -> None:
    layer = QuantisedLinear(linear(24, 64))
    read = torch.randn(5, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(read)
    output.sum().backward()
    assert output.dtype == torch.bfloat16 and read.grad is not None and read.grad.dtype == torch.float32
    expected = torch.nn.functional.linear(read.bfloat16(), layer.weight.bfloat16()) + layer.bias.bfloat16()
    assert torch.equal(output, expected)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_only_the_matrices_of_blocks_are_quantised(family: str) -> None:
    plain, model = tiny(family), in_4_bits(tiny(family))
    names = {name for name, part in model.named_modules() if isinstance(part, QuantisedLinear)}
    linears = {name for name, part in plain.named_modules() if isinstance(part, nn.Linear | Conv1D)}
    assert linears - names == {"lm_head"}
    assert parameter_count(model) == sum(parameter.numel() for parameter in plain.parameters())
    assert not {name for name in model.state_dict() if name.endswith(("packed", "scales"))}
    assert torch.equal(model.get_input_embeddings().weight, plain.get_input_embeddings().weight)
    assert 1e-3 < float((logits(model) - logits(plain)).abs().max() / logits(plain).abs().max()) < 0.3


@pytest.mark.parametrize("options", [{}, {"dora": True}, {"biases": True}, {"targets": "attention"}], ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_merged_it_is_the_rounded_base_and_what_was_learned(family: str, options: dict[str, Any]) -> None:
    method = Qlora(rank=4, **options)
    model = moved(method.apply(tiny(family)))
    learned, base = logits(model), logits(in_4_bits(tiny(family)))
    with method.switched_off(model):
        assert torch.equal(logits(model), base)
    merged = method.merge(model)
    assert [type(part) for part in merged.modules()] == [type(part) for part in tiny(family).modules()]
    torch.testing.assert_close(logits(merged), learned, rtol=1e-5, atol=1e-5)
    assert float((learned - base).abs().max()) > 1e-2


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_plain_peft_loads_it_on_both_bases(family: str, tmp_path: Path) -> None:
    """The same on the base that transformers quantises as we say; off by the rounding on the base itself."""
    tiny(family).save_pretrained(tmp_path / "base")
    method = Qlora(rank=4)
    model = moved(method.apply(tiny(family)))
    learned = logits(model)
    method.save(model, tmp_path / "added", base="", state=model.state_dict())
    assert method.quantization is not None
    way = BitsAndBytesConfig(**method.quantization)
    base = CLASSES["causal"].from_pretrained(tmp_path / "base", quantization_config=way)
    for part in base.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):  # rounds to bfloat16 outside of training
            part.support_avx512bf16_for_cpu = False
    same = PeftModel.from_pretrained(base, str(tmp_path / "added"))
    torch.testing.assert_close(logits(same), learned, rtol=1e-5, atol=1e-5)
    whole = CLASSES["causal"].from_pretrained(tmp_path / "base")
    other = logits(PeftModel.from_pretrained(whole, str(tmp_path / "added")))
    assert 1e-3 < float((other - learned).abs().max() / learned.abs().max()) < 0.5


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora"])
def test_starts_that_take_from_the_base_are_refused(start: Any) -> None:
    with pytest.raises(ConfigError, match="only the rest is rounded"):
        Qlora(start=start)


@pytest.mark.parametrize("start", ["default", "gaussian", "orthogonal"])
def test_other_starts_begin_as_the_base_in_4_bits(start: Any) -> None:
    started = Qlora(rank=4, start=start).apply(tiny("llama"))
    torch.testing.assert_close(logits(started), logits(in_4_bits(tiny("llama"))), rtol=1e-5, atol=1e-5)


def test_where_bitsandbytes_does_not_run_it_is_refused_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantised, "why_not", lambda: "bitsandbytes is not installed")
    with pytest.raises(ConfigError, match="bitsandbytes is not installed") as refused:
        Qlora()
    assert refused.value.expected == "pip install 'hanji[quantised]'"


def test_why_it_does_not_run_is_asked_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = quantised.why_not.__wrapped__
    assert ask() is None

    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("the library of this machine is too old\nmore of it")

    monkeypatch.setattr("bitsandbytes.functional.quantize_4bit", broken)
    assert ask() == "bitsandbytes does not run here (RuntimeError: the library of this machine is too old)"
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    assert ask() == "bitsandbytes is not installed"


def test_what_is_quantised_already_or_otherwise_is_refused() -> None:
    model = in_4_bits(tiny("llama"))
    with pytest.raises(ConfigError, match="no linear modules"):
        quantise(model, quantization_of(model))
    with pytest.raises(ConfigError, match="this way to quantise is not known"):
        quantise(tiny("llama"), {**quantization_of(tiny("llama")), "bnb_4bit_quant_type": "fp4"})
