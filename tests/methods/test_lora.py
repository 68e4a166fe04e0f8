"""LoRA's starts: what they begin with, what is saved of them, and what switching off gives back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from torch import Tensor

from hanji.contracts.errors import ConfigError
from hanji.methods.lora import Lora
from tiny_models import tiny

TAKING = ("pissa", "pissa_niter_16", "olora")
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


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("start", ["default", "gaussian", "orthogonal", *TAKING])
def test_the_model_starts_as_it_was(start: Any, family: str) -> None:
    base = logits(tiny(family, "causal"))
    started = Lora(rank=4, start=start).apply(tiny(family, "causal"))
    torch.testing.assert_close(logits(started), base, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("start", TAKING)
def test_it_is_saved_as_a_plain_lora_on_the_base_as_it_was(
    start: Any, family: str, rslora: bool, tmp_path: Path
) -> None:
    base = logits(tiny(family, "causal"))
    method = Lora(rank=4, alpha=6, start=start, rslora=rslora)
    model = moved(method.apply(tiny(family, "causal")))
    learned = logits(model)
    with method.switched_off(model):
        assert torch.equal(logits(model), base)
    method.save(model, tmp_path, base="", state=model.state_dict())
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    about = LoraConfig.from_pretrained(str(tmp_path))
    assert (about.r, about.init_lora_weights) == (8, True)
    plain = PeftModel.from_pretrained(tiny(family, "causal"), str(tmp_path))
    torch.testing.assert_close(logits(plain), learned, rtol=1e-5, atol=1e-5)
    assert (learned - base).abs().max() > 1e-2
    torch.testing.assert_close(logits(method.merge(model)), learned, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("start", "families"), [("pissa", ("llama", "gpt2")), ("olora", ("llama",))])
def test_the_start_is_that_of_peft(start: Any, families: tuple[str, ...]) -> None:
    """Which changes the base instead; its OLoRA leaves GPT-2's transposed matrices out."""
    for family in families:
        ours = Lora(rank=4, start=start).apply(tiny(family, "causal"))
        config = LoraConfig(
            r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=start, task_type="CAUSAL_LM",
            fan_in_fan_out=family == "gpt2",
        )  # fmt: skip
        theirs = PeftModel(tiny(family, "causal"), config).get_base_model()
        layers = dict(theirs.named_modules())
        compared = 0
        for name, layer in ours.named_modules():
            if hasattr(layer, "lora_A"):
                taken = [
                    x.lora_B["default"].weight @ x.lora_A["default"].weight for x in (layer, layers[name])
                ]
                torch.testing.assert_close(*taken, rtol=1e-4, atol=1e-5)
                compared += 1
        assert compared


def test_a_randomised_pissa_takes_nearly_the_best() -> None:
    def left(start: Any) -> float:
        model = Lora(rank=4, start=start).apply(tiny("llama", "causal"))
        layers = [layer for layer in model.modules() if hasattr(layer, "lora_A")]
        rests = [layer.base_layer.weight - layer.get_delta_weight("default") for layer in layers]
        return sum(rest.detach().square().sum().item() for rest in rests)

    best = left("pissa")
    assert best * (1 - 1e-6) <= left("pissa_niter_16") < 1.01 * best


def test_what_was_taken_neither_learns_nor_is_lost() -> None:
    model = Lora(rank=4, start="pissa").apply(tiny("llama", "causal"))
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning and all("lora_" in name and ".default." in name for name in learning)
    buffers = {name for name, _ in model.named_buffers() if ".taken." in name}
    assert len(buffers) == len(learning) and buffers <= set(model.state_dict())


def test_biases_that_learn_are_switched_off_too() -> None:
    base = logits(tiny("gpt2", "causal"))
    method = Lora(rank=4, biases=True)
    model = moved(method.apply(tiny("gpt2", "causal")))
    learned = logits(model)
    with method.switched_off(model):
        assert torch.equal(logits(model), base)
    assert torch.equal(logits(model), learned)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"start": "corda"}, "unknown start"),
        ({"start": "orthogonal", "rank": 3}, "shares the rank out evenly"),
        ({"start": "pissa", "dora": True}, "of which start pissa takes a part away"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Lora(**options)


def test_a_rank_above_a_matrix_cannot_be_taken() -> None:
    with pytest.raises(ConfigError, match="one has fewer") as refused:
        Lora(rank=1000, start="olora").apply(tiny("llama", "causal"))
    assert refused.value.where == "method.rank"
