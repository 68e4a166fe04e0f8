"""`hanji export`, on a tiny random model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from hanji.cli.app import app
from hanji.tokenizers.train import train_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model") / "folded"
    tokenizer = train_tokenizer(iter(["A sheet is folded. 한지는 종이다."] * 3), vocab_size=300)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(vocab_size=tokenizer.vocabulary_size, max_position_embeddings=96, **shape)
        LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save(directory)
    return directory


def hanji(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, arguments)], env={"COLUMNS": "120"})


def test_it_tells_what_was_compared_and_where_it_is(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = hanji(model, "--to", "gguf", "--type", "q8_0")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("  transformers") and "logits of 4 texts: the same to" in lines[0]
    assert lines[-1].startswith("folded-q8_0.gguf  ") and lines[-1].endswith("kB")
    assert (tmp_path / "folded-q8_0.gguf").stat().st_size > 10_000


def test_what_is_there_is_kept_unless_forced(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "whole"
    assert hanji(model, "--to", "merged", "--out", out).exit_code == 0
    again = hanji(model, "--to", "merged", "--out", out)
    assert again.exit_code == 1 and "--force" in again.output
    assert hanji(model, "--to", "merged", "--out", out, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--to", "gguff"), "did you mean gguf?"),
        (("--to", "merged", "--type", "f16"), "no option --type"),
        (("--to", "gguf", "--type", "q9"), "f32, f16, q8_0"),
        (("--to", "adapter"), "--to merged"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], named: str, model: Path, tmp_path: Path) -> None:
    result = hanji(model, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2 and named in result.output
    assert not [*tmp_path.iterdir()]
