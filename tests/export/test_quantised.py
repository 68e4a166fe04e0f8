"""A LoRA on a base in 4 bits: every export of it, and everyone who loads it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from export.added import make_added
from export.conftest import SENTENCES
from hanji.artifacts import models
from hanji.artifacts.models import base_of, load_trained
from hanji.contracts.errors import ModelError
from hanji.export.exporting import export
from hanji.generation import Engine
from hanji.methods.quantised import QuantisedLinear
from hanji.models.identity import weights_digest
from hanji.models.load import load_model
from hanji.tokenizers.tokenizer import Tokenizer


@pytest.fixture
def added(llama: Path, tmp_path: Path) -> Path:
    return make_added(llama, "qlora", tmp_path / "added", options={"rank": 4})


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_merged_it_is_the_rounded_base_and_what_was_learned(
    family: str, make_model: Callable[..., Path], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    added = make_added(make_model(family), "qlora", tmp_path / "added", options={"rank": 4})
    made = export(str(added), "merged", tmp_path / "out")
    ids = torch.tensor([tokenizer.encode_prompt(SENTENCES[0])])
    with torch.inference_mode():
        merged = AutoModelForCausalLM.from_pretrained(made.path)(ids).logits
        beside = load_trained(added).eval()(ids).logits
    torch.testing.assert_close(merged, beside, rtol=1e-4, atol=1e-4)


def test_plain_peft_and_gguf_say_the_same(added: Path, tmp_path: Path) -> None:
    made = export(str(added), "adapter", tmp_path / "adapter")
    assert base_of(made.path).quantization == base_of(added).quantization is not None
    assert made.comparisons and export(str(added), "gguf", tmp_path / "model.gguf").comparisons


def test_a_copy_of_the_directory_is_quantised_as_well_and_its_base_is_known(
    added: Path, llama: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(added, tmp_path / "elsewhere" / "copy")
    loaded = load_trained(copy)
    assert sum(isinstance(part, QuantisedLinear) for part in loaded.modules()) == 14
    assert base_of(copy).weights == weights_digest(load_model(llama))


def test_it_is_served_alone(added: Path, llama: Path) -> None:
    with pytest.raises(ModelError, match="belongs to the base in 4 bits"):
        Engine(load_model(llama), Tokenizer.load(llama), slots=1, adapters={"thin": added})


def test_without_bitsandbytes_it_is_not_loaded(added: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "why_not", lambda: "bitsandbytes is not installed")
    with pytest.raises(ModelError, match="gives other outputs on any other") as refused:
        load_trained(added)
    assert refused.value.expected == "pip install 'hanji[quantised]'"
