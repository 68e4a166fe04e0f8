"""`hanji deploy`: aliases stand for models of the workspace, and for nothing else."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from hanji.artifacts.artifact import Artifact, Record
from hanji.artifacts.workspace import Workspace
from hanji.cli.app import main
from hanji.storage.aliases import Aliases
from hanji.storage.database import Database
from hanji.storage.location import VARIABLE, database_url


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, which the command takes for its own."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("HANJI_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path / "runs")


def make(workspace: Workspace, stage: str, fingerprint: str, kind: str = "finetune") -> Artifact:
    record = Record(
        kind=kind, name=f"demo/{stage}", fingerprint=fingerprint, config={}, parents={}, seed=0, versions={},
        device="cpu", created="2025-01-01T00:00:00+00:00", seconds=1.0, metrics={},
    )  # fmt: skip
    with workspace.making("demo", stage, fingerprint) as making:
        (making.work / "config.json").write_text("{}")
        artifact = making.commit(record)
    workspace.use(artifact)
    return artifact


def hanji(*arguments: str, code: int = 0) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["hanji", *arguments])
        main()
    assert end.value.code == code


def standing(workspace: Workspace) -> dict[str, str]:
    with Database.open(database_url(workspace.root)) as database:
        return {alias: found.artifact for alias, found in Aliases(database).current().items()}


def test_an_alias_stays_where_it_is_when_its_stage_is_made_anew(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    make(workspace, "chat", "aaa")
    hanji("deploy", "chat", "--as", "support")
    assert capfd.readouterr().out == "support → demo/chat/aaa\n"
    make(workspace, "chat", "bbb")
    assert standing(workspace) == {"support": "demo/chat/aaa"}
    hanji("deploy", "demo/chat", "--as", "support")
    assert standing(workspace) == {"support": "demo/chat/bbb"}
    hanji("deploy", "support", "--rollback")
    assert capfd.readouterr().out.splitlines()[-1] == "support → demo/chat/aaa"
    hanji("deploy", "support", "--rollback", code=2)
    assert "nothing to roll back to" in capfd.readouterr().err


def test_every_way_to_name_an_artifact(workspace: Workspace) -> None:
    make(workspace, "chat", "aaa")
    make(workspace, "chat", "bbb")
    hanji("deploy", "runs/demo/chat/aaa", "--as", "path")
    hanji("deploy", "runs/demo/chat/current", "--as", "link")
    hanji("deploy", "demo/chat/aaa", "--as", "reference")
    assert standing(workspace) == {
        "path": "demo/chat/aaa",
        "link": "demo/chat/bbb",
        "reference": "demo/chat/aaa",
    }


def test_list_and_history(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    hanji("deploy", "--list")
    assert "Nothing is deployed." in capfd.readouterr().out
    first = make(workspace, "chat", "aaa")
    hanji("deploy", "chat", "--as", "support")
    make(workspace, "chat", "bbb")
    hanji("deploy", "chat", "--as", "support")
    hanji("deploy", "support", "--rollback")
    capfd.readouterr()
    hanji("deploy", "--list")
    shown = capfd.readouterr().out
    assert "demo/chat/aaa" in shown
    assert "demo/chat/bbb" not in shown
    assert "gone" not in shown
    shutil.rmtree(first.path)
    hanji("deploy", "support", "--list")
    newest, oldest = capfd.readouterr().out.splitlines()[1:]
    assert "demo/chat/bbb" in newest
    assert "rolled back" in newest
    assert "gone" not in newest
    assert "demo/chat/aaa" in oldest
    assert "gone" in oldest


def test_what_is_no_model_or_not_whole_is_refused(
    workspace: Workspace, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make(workspace, "corpus", "aaa", kind="prepare")
    hanji("deploy", "corpus", "--as", "x", code=1)
    assert "demo/corpus is no model" in capfd.readouterr().err
    broken = make(workspace, "chat", "bbb")
    (broken.path / "config.json").unlink()
    hanji("deploy", "chat", "--as", "x", code=1)
    assert "config.json" in capfd.readouterr().err
    hanji("deploy", "caht", "--as", "x", code=1)
    assert "did you mean chat?" in capfd.readouterr().err
    elsewhere = make(Workspace(tmp_path / "other"), "chat", "ccc")
    for name in (str(elsewhere.path), "../other/demo/chat/ccc"):
        hanji("deploy", name, "--as", "x", code=1)
        assert "not one of the workspace" in capfd.readouterr().err
    assert standing(workspace) == {}


def test_a_rollback_to_what_was_deleted_is_refused(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    first = make(workspace, "chat", "aaa")
    hanji("deploy", "chat", "--as", "support")
    make(workspace, "chat", "bbb")
    hanji("deploy", "chat", "--as", "support")
    shutil.rmtree(first.path)
    hanji("deploy", "support", "--rollback", code=1)
    assert "is gone" in capfd.readouterr().err
    assert standing(workspace) == {"support": "demo/chat/bbb"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["chat"],
        ["--as", "x"],
        ["--rollback"],
        ["chat", "--as", "x", "--rollback"],
        ["--list", "--as", "x"],
    ],
)
def test_one_thing_at_a_time(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    hanji("deploy", *arguments, code=2)
    assert "hanji deploy NAME --as ALIAS" in capfd.readouterr().err
