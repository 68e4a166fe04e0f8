"""`hanji keys`: a token is printed once, for a script to take."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hanji.cli.app import main
from hanji.storage.database import Database
from hanji.storage.keys import Keys
from hanji.storage.location import VARIABLE, database_url


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace, which the command takes for its own."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("HANJI_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def hanji(*arguments: str, code: int = 0) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["hanji", *arguments])
        main()
    assert end.value.code == code


def test_create_prints_the_token_alone(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hanji("keys", "create", "app", "--requests-per-minute", "60", "--concurrent", "2")
    said = capfd.readouterr()
    (token,) = said.out.splitlines()
    assert token not in said.err
    assert "not shown again" in said.err
    with Database.open(database_url(workspace)) as database:
        key = Keys(database).check(token)
    assert key is not None
    assert (key.name, key.requests_per_minute, key.concurrent) == ("app", 60, 2)

    hanji("keys", "list")
    shown = capfd.readouterr().out
    assert token not in shown
    assert key.prefix in shown
    assert all(word in shown for word in ("app", "60", "2"))


def test_revoke(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hanji("keys", "create", "app")
    token = capfd.readouterr().out.strip()
    hanji("keys", "revoke", "app")
    assert capfd.readouterr().out == "key 1, app: revoked\n"
    with Database.open(database_url(workspace)) as database:
        assert Keys(database).check(token) is None
    hanji("keys", "revoke", "1", code=2)
    assert "revoked already" in capfd.readouterr().err


def test_mistakes_are_told(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    hanji("keys", "list")
    assert "There are no keys." in capfd.readouterr().out
    hanji("keys", "create", "a b", code=2)
    assert "name of a key" in capfd.readouterr().err
    hanji("keys", "create", "app", "--concurrent", "0", code=2)
    monkeypatch.setenv(VARIABLE, "postgresql://me:hidden@127.0.0.1:1/db")
    capfd.readouterr()
    hanji("keys", "list", code=1)
    told = capfd.readouterr().err
    assert "me:***@127.0.0.1:1/db" in told
    assert "hidden" not in told
    assert "Traceback" not in told
