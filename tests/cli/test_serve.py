"""`hanji serve`: what it refuses before anything is loaded, and one process from its start to SIGTERM."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from hanji.cli.app import main
from hanji.storage.aliases import Aliases
from hanji.storage.database import Database
from hanji.storage.keys import Keys
from hanji.storage.location import database_url
from serving.processes import Process


def refused(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["hanji", "serve", *arguments])
        main()
    assert end.value.code == code
    return capfd.readouterr().err


def test_what_is_refused_before_anything_is_loaded(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "mean, cls, last" in refused(capfd, "blank", "--pooling", "max")
    assert "--log-requests" in refused(capfd, "blank", "--retention-days", "3")
    assert "cannot be served on" in refused(capfd, "blank", "--host", "192.0.2.1")
    assert "called the same" in refused(capfd, "blank", "./blank", "--port", "0")
    unknown = refused(capfd, "other", "--port", "0", code=1)
    assert "There is no artifact other" in unknown
    assert re.search("do: .*hub id .hanji models .*--runs", unknown)


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for one in started:
        one.close()


@pytest.mark.slow
def test_sigterm_under_load_ends_what_was_begun(folder: Path, processes: list[Process]) -> None:
    processes.append(Process(folder, "blank", "--slots", "2", "--log-requests"))
    client = OpenAI(base_url=f"{processes[0].url()}/v1", api_key="none", max_retries=0, timeout=60)

    def ask(number: int) -> Any:
        return client.completions.create(
            model="blank", prompt="one", max_tokens=200, stream=number % 2 == 0,
            extra_body={"ignore_eos": True},
        )  # fmt: skip

    def whole(number: int) -> int:
        answer = ask(number)
        if number % 2:
            return int(answer.usage.completion_tokens)
        return sum(1 for chunk in answer if chunk.choices[0].finish_reason == "length") * 200

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(whole, number) for number in range(8)]
        time.sleep(1.0)
        assert processes[0].end() == 0
        assert [answer.result() for answer in answers] == [200] * 8


@pytest.mark.slow
def test_keys_and_an_alias(folder: Path, processes: list[Process]) -> None:
    runs = folder / "runs"
    with Database.open(database_url(runs)) as database:
        _, token = Keys(database).create("team")
        artifact = runs / "demo" / "chat" / "aaa"
        artifact.parent.mkdir(parents=True)
        (folder / "blank").rename(artifact)
        Aliases(database).deploy("support", "demo/chat/aaa")
    processes.append(Process(folder, "support", "--keys"))
    client = OpenAI(base_url=f"{processes[0].url()}/v1", api_key=token, max_retries=0, timeout=60)
    (card,) = [model.model_dump() for model in client.models.list()]
    assert (card["id"], card["artifact"]) == ("support", "demo/chat/aaa")
    assert client.completions.create(model="support", prompt="one", max_tokens=2).choices[0].text is not None
    assert processes[0].end(signal.SIGINT) == 0
    assert "an API key is wanted" in processes[0].said()
    assert json.dumps(token) not in processes[0].said()
