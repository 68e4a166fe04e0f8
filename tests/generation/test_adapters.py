"""Adapters of all kinds over one base in one engine, each held against plain PEFT on its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from generation.test_engine import Ids, prompts
from hanji.contracts.errors import ModelError
from hanji.generation import Engine, Request, Sampling, kernels
from hanji.methods.bottleneck import BottleneckConfig
from tiny_models import FAMILIES, tiny

NEW = 12
KINDS: dict[str, Callable[[], Any]] = {
    "lora": lambda: LoraConfig(r=4, target_modules="all-linear", lora_alpha=16),
    "wide": lambda: LoraConfig(r=8, target_modules=["q_proj", "c_attn"], use_rslora=True),
    "houlsby": lambda: BottleneckConfig(placement="houlsby", reduction_factor=4),
    "parallel": lambda: BottleneckConfig(placement="parallel", reduction_factor=2, scaling=4.0),
    "prompt": lambda: PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    "short": lambda: PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
}


@pytest.fixture(params=["llama", "gpt2", "qwen3"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def adapters(family: str, tmp_path: Path) -> dict[str, Path]:
    found = {}
    for name, make in KINDS.items():
        model = get_peft_model(tiny(family), make())
        generator = torch.Generator().manual_seed(len(name))
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)
        model.save_pretrained(tmp_path / name)
        found[name] = tmp_path / name
    return found


def by_peft(family: str, directory: Path, prompt: list[int]) -> list[int]:
    model = PeftModel.from_pretrained(tiny(family), directory).eval()
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(NEW):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("packed_bytes", [2**30, 0])
def test_each_answers_as_it_does_alone(family: str, adapters: dict[str, Path], packed_bytes: int) -> None:
    """With LoRAs in packed products, where kernels multiply, and beside modules."""
    asked = prompts(8)
    names = [*adapters, None, "lora"]
    requests = [
        Request(prompt=prompt, adapter=name, max_new_tokens=NEW, stop_ids=())
        for prompt, name in zip(asked, names, strict=True)
    ]
    settings: Any = {"slots": 3, "block": 16, "packed_bytes": packed_bytes}
    with Engine(tiny(family), Ids(), **settings, adapters=adapters) as engine:
        mixed = engine.run(requests)
        again = engine.run(reversed(requests))
    assert [answer.ids for answer in mixed] == [answer.ids for answer in reversed(again)]
    with Engine(tiny(family), Ids(), **settings) as engine:
        base = engine.run([Request(prompt=asked[6], max_new_tokens=NEW, stop_ids=(), logprobs=0)])[0]
    assert mixed[6].ids == base.ids
    for prompt, name, answer in zip(asked, names, mixed, strict=True):
        if name is not None:
            assert answer.ids == by_peft(family, adapters[name], prompt), name


def test_prefixes_of_different_adapters_are_not_mixed_up(tmp_path: Path) -> None:
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny("llama"), config).save_pretrained(tmp_path / "one")
    shared = prompts(1, 61)[0] * 2
    with Engine(tiny("llama"), Ids(), slots=2, block=16, adapters={"one": tmp_path / "one"}) as engine:
        ask = [Request(prompt=shared, adapter=name, max_new_tokens=6, logprobs=0) for name in (None, "one")]
        first = engine.run(ask)
        second = engine.run(ask)
    assert [answer.reused for answer in first] == [0, 0]
    assert all(answer.reused >= 16 for answer in second)
    assert [answer.logprobs for answer in first] == [answer.logprobs for answer in second]


def test_a_drawn_answer_does_not_depend_on_neighbours_with_adapters(tmp_path: Path) -> None:
    for rank in (2, 8):
        config = LoraConfig(r=rank, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(tiny("llama"), config).save_pretrained(tmp_path / str(rank))
    own, *others = (
        Request(
            prompt=[5, 6, 7 + index], adapter=name, max_new_tokens=20, logprobs=0,
            sampling=Sampling(temperature=1.0, seed=index),
        )
        for index, name in enumerate(("2", "8", None, "8", "2"))
    )  # fmt: skip
    adapters = {"2": tmp_path / "2", "8": tmp_path / "8"}
    with Engine(tiny("llama"), Ids(), slots=3, adapters=adapters) as engine:
        alone = engine.run([own])[0]
        together = engine.run([*others, own])[-1]
    assert alone.ids == together.ids


def test_adapters_come_and_go_from_memory(tmp_path: Path) -> None:
    for name in "abc":
        config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(tiny("llama"), config).save_pretrained(tmp_path / name)
    with Engine(tiny("llama"), Ids(), slots=2) as engine:
        for name in "abc":
            engine.adapters.add(name, tmp_path / name)
        engine.adapters.kept = 1
        asked = [Request(prompt=[5, 6], adapter=name, max_new_tokens=4) for name in "abcabc"]
        answers = engine.run(asked)
        assert [answer.ids for answer in answers[:3]] == [answer.ids for answer in answers[3:]]
        assert len(engine.adapters._loaded) == 1
        engine.adapters.remove("b")
        with pytest.raises(ModelError, match="no adapter of this name"):
            engine.submit(Request(prompt=[5], adapter="b"))


def test_more_adapters_than_slots_take_turns_in_products(tmp_path: Path) -> None:
    """Of ranks that do not fill a fold, over some layers of a group, after others at the same numbers."""
    shapes = {"a": (8, "all-linear"), "b": (3, ["q_proj", "up_proj"]), "c": (5, ["v_proj", "o_proj"])}
    for seed, (name, (rank, targets)) in enumerate(shapes.items()):
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, target_modules=targets, init_lora_weights=False)
        get_peft_model(tiny("llama"), config).save_pretrained(tmp_path / name)
    model, asked = tiny("llama"), prompts(9)
    adapters = {name: tmp_path / name for name in shapes}
    with Engine(model, Ids(), slots=2, block=16, adapters=adapters) as engine:
        requests = [
            Request(prompt=prompt, adapter=name, max_new_tokens=NEW, stop_ids=())
            for prompt, name in zip(asked, "abcabccba", strict=True)
        ]
        answers = engine.run(requests)
        if kernels.usable(torch.ones(1)):
            assert not any(module._forward_hooks for module in model.modules())
    for request, answer in zip(requests, answers, strict=True):
        assert answer.ids == by_peft("llama", adapters[request.adapter or ""], list(request.prompt))


def test_modules_are_as_they_were_when_no_slot_has_an_adapter(tmp_path: Path) -> None:
    get_peft_model(tiny("llama"), KINDS["parallel"]()).save_pretrained(tmp_path)
    model = tiny("llama")
    with Engine(model, Ids(), slots=2, adapters={"one": tmp_path}) as engine:
        engine.submit(Request(prompt=[5, 6], adapter="one", max_new_tokens=3, stop_ids=()))
        engine.step()
        assert any(module._forward_hooks for module in model.modules())
        while engine.step():
            pass
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_an_adapter_of_the_head_is_refused(tmp_path: Path) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    get_peft_model(tiny("llama"), config).save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(ModelError, match="serve it as a model of its own"):
        Engine(tiny("llama"), Ids(), slots=1, adapters={"head": tmp_path})


@pytest.mark.parametrize("change", [{"intermediate_size": 96}, {"num_hidden_layers": 4}])
def test_an_adapter_of_a_model_of_other_sizes_is_refused(change: dict[str, int], tmp_path: Path) -> None:
    config = AutoConfig.for_model("llama", **{**FAMILIES["llama"], **change}, vocab_size=211)
    other = AutoModelForCausalLM.from_config(config)
    get_peft_model(other, KINDS["lora"]()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"of other sizes|more than matrices beside linear modules within"):
        Engine(tiny("llama"), Ids(), slots=1, adapters={"other": tmp_path})


def test_an_adapter_that_was_trained_again_reuses_nothing_of_the_one_before(tmp_path: Path) -> None:
    asked = Request(prompt=prompts(1, 61)[0], adapter="one", max_new_tokens=6, logprobs=0)
    with Engine(tiny("llama"), Ids(), slots=2, block=16) as engine:
        answers = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
            get_peft_model(tiny("llama"), config).save_pretrained(tmp_path)
            engine.adapters.add("one", tmp_path)
            answers.append(engine.run([asked])[0])
            engine.adapters.remove("one")
    assert [answer.reused for answer in answers] == [0, 0]
    assert answers[1].ids == by_peft("llama", tmp_path, list(asked.prompt))[:6]


def test_one_whose_weights_are_cut_off_is_refused(tmp_path: Path) -> None:
    get_peft_model(tiny("llama"), KINDS["lora"]()).save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="this adapter cannot be read"):
        Engine(tiny("llama"), Ids(), slots=1, adapters={"cut": tmp_path})


def test_the_prompts_own_probabilities_leave_a_soft_prompt_out(tmp_path: Path) -> None:
    get_peft_model(tiny("llama"), KINDS["prompt"]()).save_pretrained(tmp_path / "soft")
    prompt = prompts(1)[0][:20]
    with Engine(tiny("llama"), Ids(), slots=1, block=8, adapters={"soft": tmp_path / "soft"}) as engine:
        request = Request(prompt=prompt, adapter="soft", prompt_logprobs=0, max_new_tokens=1)
        told = engine.run([request])[0].prompt_logprobs
    assert [one.token for one in told] == prompt[1:]
    with torch.no_grad():
        table = (
            PeftModel.from_pretrained(tiny("llama"), tmp_path / "soft").eval()(torch.tensor([prompt])).logits
        )
    rows = table[0, -len(prompt) :].log_softmax(-1)
    for place, one in enumerate(told):
        assert one.logprob == pytest.approx(float(rows[place, one.token]), abs=1e-4)


def test_another_adapter_may_take_a_name_and_one_that_is_gone_fails_its_own_request(tmp_path: Path) -> None:
    for name, length in (("old", 2), ("new", 5)):
        torch.manual_seed(length)
        config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=length)
        get_peft_model(tiny("llama"), config).save_pretrained(tmp_path / name)
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny("llama"), lora).save_pretrained(tmp_path / "lora")
    prompt = prompts(1)[0]
    with Engine(tiny("llama"), Ids(), slots=1) as engine:
        for name in ("old", "new"):
            engine.adapters.add("soft", tmp_path / name)
            asked = Request(prompt=prompt, adapter="soft", max_new_tokens=NEW, stop_ids=())
            assert engine.run([asked])[0].ids == by_peft("llama", tmp_path / name, prompt)
            engine.adapters.remove("soft")
        engine.adapters.add("lora", tmp_path / "lora")
        gone = engine.submit(Request(prompt=prompt, adapter="lora", max_new_tokens=3))
        other = engine.submit(Request(prompt=prompt, max_new_tokens=3, stop_ids=()))
        engine.adapters.remove("lora")
        while engine.step():
            pass
    assert isinstance(gone.answer.error, ModelError)
    assert len(other.answer.ids) == 3


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (LoraConfig(r=2, target_modules="all-linear", use_dora=True), "DoRA"),
        (LoraConfig(r=2, target_modules="all-linear", modules_to_save=["lm_head"]), "head of its own"),
        (LoraConfig(r=2, target_modules="all-linear", bias="all"), "biases"),
    ],
)
def test_one_of_another_form_is_refused_with_the_reason(config: Any, reason: str, tmp_path: Path) -> None:
    get_peft_model(tiny("gpt2"), config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=reason):
        Engine(tiny("gpt2"), Ids(), slots=1, adapters={"odd": tmp_path})
