"""Adapters of all kinds over one base, served at once: each answers as it does alone."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import BadRequestError, OpenAI
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model

from hanji.methods.bottleneck import BottleneckConfig
from hanji.serving.models import Loaded, Models, Settings
from hanji.serving.service import Service
from hanji.serving.shared import AdapterSource, SharedBase
from serving.running import Running, Trained

NEW = 12
KINDS: dict[str, Callable[[], Any]] = {
    "lora": lambda: LoraConfig(r=4, target_modules="all-linear"),
    "adapter": lambda: BottleneckConfig(reduction_factor=4),
    "prompt": lambda: PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
}


@pytest.fixture(scope="module")
def adapters(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    places = {}
    for name, make in KINDS.items():
        model = get_peft_model(deepcopy(trained.model), make())
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
        places[name] = tmp_path_factory.mktemp("adapters") / name
        model.save_pretrained(places[name])
    return places


@pytest.fixture(scope="module")
def client(trained: Trained, adapters: dict[str, Path], serve: Callable[[Service], Running]) -> OpenAI:
    base = SharedBase(
        "base", Loaded(deepcopy(trained.model), trained.tokenizer, "causal", "test/base/0000"),
        Settings(slots=3), 64,
        {
            name: AdapterSource(place, trained.tokenizer, f"test/{name}/0000")
            for name, place in adapters.items()
        },
    )  # fmt: skip
    return serve(Service(Models(base.starts))).client()


def by_peft(trained: Trained, place: Path | None, prompt: list[int]) -> list[int]:
    model = deepcopy(trained.model)
    if place is not None:
        model = PeftModel.from_pretrained(model, place)
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(NEW):
            ids.append(int(model.eval()(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_each_answers_as_it_does_alone(client: OpenAI, trained: Trained, adapters: dict[str, Path]) -> None:
    assert [model.id for model in client.models.list()] == ["base", *adapters]
    prompt = trained.tokenizer.encode_prompt("What is hanji?")
    for name, place in {"base": None, **adapters}.items():
        answer = client.completions.create(
            model=name,
            prompt=prompt,
            max_tokens=NEW,
            temperature=0,
            extra_body={"ignore_eos": True},
            logprobs=0,
        )
        expected = by_peft(trained, place, prompt)
        text = trained.tokenizer.decode(expected, skip_special_tokens=True)
        assert answer.choices[0].text == text, name
        assert answer.model == name


def test_an_adapter_gives_no_embeddings_of_its_base(client: OpenAI) -> None:
    assert client.embeddings.create(model="base", input="paper").data
    with pytest.raises(BadRequestError, match="no embeddings"):
        client.embeddings.create(model="lora", input="paper")
