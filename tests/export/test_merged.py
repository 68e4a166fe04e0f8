"""Whole models for plain transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from export.added import make_added
from export.conftest import SENTENCES
from hanji.artifacts.models import load_trained
from hanji.contracts.errors import ModelError
from hanji.contracts.labels import Labels
from hanji.export.exporting import export
from hanji.tokenizers.tokenizer import Tokenizer

LABELS = Labels("classes", ("bad", "good", "so so"))


def test_a_whole_model_is_written_with_all_that_goes_with_it(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    made = export(str(llama), "merged", tmp_path / "out")
    assert {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json"} <= {
        file.name for file in made.path.iterdir()
    }
    generation = json.loads((made.path / "generation_config.json").read_text())
    assert generation["eos_token_id"] == tokenizer.eos_ids
    assert AutoTokenizer.from_pretrained(made.path).chat_template == tokenizer.chat_template
    assert all(comparison.difference in (None, 0.0) for comparison in made.comparisons)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_lora_becomes_part_of_the_weights(
    family: str, make_model: Callable[..., Path], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    base = make_model(family)
    added = make_added(base, "lora", tmp_path / "added", options={"rank": 4})
    made = export(str(added), "merged", tmp_path / "out")
    assert not (made.path / "adapter_config.json").exists()
    ids = torch.tensor([tokenizer.encode_prompt(SENTENCES[0])])
    with torch.inference_mode():
        merged = AutoModelForCausalLM.from_pretrained(made.path)(ids).logits
        beside = load_trained(added).eval()(ids).logits
        plain = AutoModelForCausalLM.from_pretrained(base)(ids).logits
    torch.testing.assert_close(merged, beside, rtol=1e-4, atol=1e-4)
    assert float((merged - plain).abs().max()) > 0.1


def test_a_classifier_keeps_its_head_and_labels(
    make_model: Callable[..., Path], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    added = make_added(make_model("qwen3"), "lora", tmp_path / "added", labels=LABELS)
    made = export(str(added), "merged", tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(made.path)
    assert [model.config.id2label[i] for i in range(3)] == list(LABELS.names)
    assert model.config.pad_token_id == tokenizer.pad_id


@pytest.mark.parametrize(("method", "kind"), [("adapter", "BOTTLENECK"), ("prompt", "PROMPT_TUNING")])
@pytest.mark.parametrize("format", ["merged", "gguf"])
def test_what_stays_beside_the_weights_is_refused_with_its_reason(
    method: str, kind: str, format: str, llama: Path, tmp_path: Path
) -> None:
    added = make_added(llama, method, tmp_path / "added")
    (tmp_path / "added" / "adapter_model.safetensors").unlink()  # refused before any weight is read
    with pytest.raises(ModelError, match="cannot become part of its weights") as refused:
        export(str(added), format, tmp_path / "out")
    assert kind in str(refused.value)
    assert [file.name for file in tmp_path.iterdir()] == ["added"]
