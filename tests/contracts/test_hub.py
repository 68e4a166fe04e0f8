"""The hub where there is no network: what is kept here is loaded, and nobody waits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, is_offline_mode

from hanji.contracts import hub
from hanji.contracts.hub import cannot_load, offline_if_unreachable


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "getproxies", dict)
    before = constants.HF_HUB_OFFLINE
    yield
    constants.HF_HUB_OFFLINE = before


def unreachable(*_: object) -> list[object]:
    raise socket.gaierror(-2, "Name or service not known")


def test_it_is_offline_while_the_host_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    offline_if_unreachable()
    assert is_offline_mode()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [("an address",)])
    offline_if_unreachable()
    assert not is_offline_mode()


def test_a_proxy_may_know_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://127.0.0.1:3128"})
    offline_if_unreachable()
    assert not is_offline_mode()


def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    constants.HF_HUB_OFFLINE = False
    offline_if_unreachable()
    assert not is_offline_mode()


@pytest.mark.parametrize("is_here", [False, True])
def test_what_cannot_be_loaded_is_told_with_the_reason_and_what_to_do(is_here: bool, tmp_path: Path) -> None:
    source = str(tmp_path) if is_here else "nobody/nothing"
    told = cannot_load(
        "nothing could be loaded", source, OSError("no file\nand more"), expected="a directory"
    )
    assert told.problem == "nothing could be loaded: no file"
    assert ("whole" if is_here else "hf download") in str(told.hint)
    assert cannot_load("nothing", source, KeyError(), expected="").problem == "nothing: KeyError"
