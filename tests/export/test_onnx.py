"""ONNX for encoders and classifiers, run by ONNX Runtime where the extra is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from export.added import make_added
from export.conftest import SENTENCES
from hanji.contracts.errors import ConfigError, ModelError
from hanji.contracts.labels import Labels
from hanji.export.exporting import export
from hanji.models.load import save_model
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer
from tiny_models import tiny

LABELS = Labels("classes", ("bad", "good", "so so"))


@pytest.fixture(scope="session")
def words() -> Tokenizer:
    return train_tokenizer(iter(SENTENCES * 3), algorithm="wordpiece", vocab_size=200)


@pytest.fixture
def make_encoder(words: Tokenizer, tmp_path: Path) -> Any:
    """A tiny encoder in a directory, its vocabulary a little larger than the tokenizer's."""

    def make(family: str, head: Any) -> Path:
        directory = tmp_path / f"{family}-{head}"
        save_model(tiny(family, head), directory, generation={})
        words.save(directory)
        return directory

    return make


@pytest.fixture
def onnx() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        pytest.skip("the extra onnx is not installed: pip install 'hanji[onnx]'")


@pytest.mark.usefixtures("onnx")
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("bert", "classification"), ("bert", "pretraining"), ("modernbert", "masked"),
        ("deberta-v2", "classification"), ("albert", "masked"),
    ],
)  # fmt: skip
def test_onnx_runtime_says_the_same(family: str, head: str, make_encoder: Any, tmp_path: Path) -> None:
    made = export(str(make_encoder(family, head)), "onnx", tmp_path / "out")
    assert [c.what for c in made.comparisons] == [
        "logits of 4 texts one by one",
        "logits of 4 texts in a batch",
    ]
    assert all(c.difference is not None and c.difference < 1e-5 for c in made.comparisons)


@pytest.mark.usefixtures("onnx")
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("base", ["bert", "llama"])
def test_a_classifier_with_a_lora_takes_any_batch_and_length(
    base: str, make_encoder: Any, llama: Path, tmp_path: Path
) -> None:
    import onnxruntime

    source = llama if base == "llama" else make_encoder("bert", "masked")
    added = make_added(source, "lora", tmp_path / "added", labels=LABELS)
    out = export(str(added), "onnx", tmp_path / "out").path
    plain = export(str(added), "merged", tmp_path / "merged").path
    model = AutoModelForSequenceClassification.from_pretrained(plain).eval()
    session = onnxruntime.InferenceSession(str(out / "model.onnx"))
    assert [output.name for output in session.get_outputs()] == ["logits"]
    generator = torch.Generator().manual_seed(0)
    for rows, length in ((1, 1), (3, 7), (7, 60)):
        ids = torch.randint(5, 150, (rows, length), generator=generator)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": ids * 0}
        wanted = {i.name: batch[i.name] for i in session.get_inputs()}
        (found,) = session.run(None, {name: tensor.numpy() for name, tensor in wanted.items()})
        with torch.inference_mode():
            expected = model(**wanted).logits.numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_without_the_packages_it_says_how_to_get_them(
    make_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if "onnx" in name else find(name, *rest)
    )
    with pytest.raises(ConfigError, match=r"pip install 'hanji\[onnx\]'"):
        export(str(make_encoder("bert", "masked")), "onnx", tmp_path / "out")


@pytest.fixture
def any_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hanji.export.onnx._NEEDED", ())


@pytest.mark.usefixtures("any_packages")
def test_what_continues_text_is_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without a cache"):
        export(str(llama), "onnx", tmp_path / "out")


@pytest.mark.usefixtures("any_packages")
def test_a_soft_prompt_is_refused(make_encoder: Any, tmp_path: Path) -> None:
    added = make_added(make_encoder("bert", "masked"), "prompt", tmp_path / "added", labels=LABELS)
    with pytest.raises(ModelError, match="cannot become part of its weights"):
        export(str(added), "onnx", tmp_path / "out")
