"""`hanji serve` joins the service and the pages, unless it is told not to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from transformers import LlamaConfig, LlamaForCausalLM

from hanji.cli.app import main
from hanji.serving import server
from hanji.storage.location import VARIABLE
from hanji.tokenizers.tokenizer import Tokenizer


@pytest.mark.parametrize("arguments", [[], ["--no-page"]])
def test_the_page_is_there_unless_it_is_left_out(
    arguments: list[str], tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    config = LlamaConfig(
        vocab_size=tokenizer.vocabulary_size, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=1, pad_token_id=tokenizer.pad_id, eos_token_id=tokenizer.eos_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained("blank")
    tokenizer.save(tmp_path / "blank")
    apps: list[FastAPI] = []

    def serve(app: FastAPI, bound: Any, drain_seconds: float, on_ready: Callable[[], None]) -> None:
        apps.append(app)
        on_ready()
        bound.close()

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(sys, "argv", ["hanji", "serve", "blank", "--port", "0", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    paths = [getattr(route, "path", "") for route in apps[0].routes]
    assert ("/" in paths, "/pages/{name:path}" in paths) == (not arguments, not arguments)
    assert "/v1/models" in paths
    assert ("chat page at http://127.0.0.1:" in capfd.readouterr().err) == (not arguments)
    assert not {"/", "/pages/{name}"} & set(apps[0].openapi()["paths"])
