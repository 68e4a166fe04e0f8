"""`hanji serve --engine`: what is refused before anything is loaded; llama.cpp from its start to SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from hanji.cli.app import main
from hanji.cli.serve import options_of
from hanji.contracts.errors import ConfigError


def call(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["hanji", *arguments])
        main()
    return int(end.value.code or 0)


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert call("serve", *arguments, "--port", "0")
    return " ".join(capfd.readouterr().err.split())


def test_options_are_json_where_they_can_be() -> None:
    found = options_of(["n=4", "fast=true", "kind=q8_0", 'deep={"a": 1}', "empty="])
    assert found == {"n": 4, "fast": True, "kind": "q8_0", "deep": {"a": 1}, "empty": ""}
    for wrong in (["n"], ["=4"], ["n=1", "n=2"]):
        with pytest.raises(ConfigError, match="said once"):
            options_of(wrong)


def test_engines_that_are_not_and_options_that_they_have_not(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "vllm" in refused(capfd, "blank", "--engine", "vlm")
    assert "no such option" in refused(capfd, "blank", "--engine-option", "tensor_parallel_size=2")


def test_llama_cpp_says_what_to_export(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `llama-cpp` is not installed")
    said = refused(capfd, "blank", "--engine", "llama.cpp")
    assert "hanji export blank --to gguf --type q8_0 --out blank.gguf" in said
    given = ("blank", "--engine", "llama.cpp")
    assert "n_gpu_layers" in refused(capfd, *given, "--engine-option", "n_gpu_layer=3")
    assert "--slots" in refused(capfd, *given, "--engine-option", "n_parallel=3")
    assert "--pooling" in refused(capfd, *given, "--pooling", "mean")
    assert "--device" in refused(capfd, *given, "--device", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_what_llama_cpp_has_begun_is_answered(folder: Path, sign: int) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `llama-cpp` is not installed")
    assert call("export", "blank", "--to", "gguf", "--type", "f16", "--out", "blank.gguf") == 0
    log = folder / "serve.log"
    with log.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "hanji", "serve", "blank.gguf", "--engine", "llama.cpp", "--slots", "2",
             "--port", "0"],
            stdout=told, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://[\d.]+:\d+", log.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        client = OpenAI(base_url=f"{found.group()}/v1", api_key="none", max_retries=0)
        stream: Any = client.completions.create(
            model="blank.gguf", prompt="one", max_tokens=2000, stream=True, temperature=0,
            stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
        )  # fmt: skip
        chunks = iter(stream)
        next(chunks)
        threading.Timer(0.1, process.send_signal, [sign]).start()
        told_last = list(chunks)
        assert told_last[-1].usage.completion_tokens == 2000
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
