"""Artifacts come to be in one step, are found by name, and notice when somebody changed them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hanji.artifacts.artifact import Artifact, Record
from hanji.artifacts.digest import canonical, fingerprint, outside_digest
from hanji.artifacts.lineage import lineage
from hanji.artifacts.workspace import Workspace
from hanji.contracts.errors import ArtifactError


def record(name: str, print_: str, parents: dict | None = None) -> Record:
    return Record(
        kind="prepare",
        name=name,
        fingerprint=print_,
        config={"kind": "prepare"},
        parents=parents or {},
        seed=0,
        versions={"python": "3"},
        device="cpu",
        created="2025-01-01T00:00:00+00:00",
        seconds=1.0,
        metrics={"rows": 3},
    )


def make(
    workspace: Workspace, stage: str, content: str, print_: str = "abc", parents: dict | None = None
) -> Artifact:
    with workspace.making("demo", stage, print_) as making:
        (making.work / "data.txt").write_text(content)
        artifact = making.commit(record(f"demo/{stage}", print_, parents))
    workspace.use(artifact)
    return artifact


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "runs")


def test_commit_moves_the_work_and_digests_every_file(workspace: Workspace) -> None:
    with workspace.making("demo", "corpus", "abc") as making:
        (making.work / "deep").mkdir()
        (making.work / "deep" / "file.bin").write_bytes(b"\x00\x01")
        (making.work / "checkpoints").mkdir()
        (making.work / "checkpoints" / "step-1").write_text("large")
        artifact = making.commit(record("demo/corpus", "abc"))

    assert artifact.path == workspace.root / "demo" / "corpus" / "abc"
    assert dict(artifact.record.files) == {"deep/file.bin": hashlib.sha256(b"\x00\x01").hexdigest()}
    assert not (artifact.path / "checkpoints").exists()
    assert not list(artifact.path.parent.glob("*.partial"))
    assert json.loads((artifact.path / "artifact.json").read_text())["metrics"] == {"rows": 3}
    artifact.verify()


def test_work_that_fails_leaves_no_artifact_and_is_found_again(workspace: Workspace) -> None:
    with pytest.raises(RuntimeError), workspace.making("demo", "corpus", "abc") as making:
        (making.work / "half").write_text("x")
        raise RuntimeError
    assert workspace.current("demo", "corpus") is None
    assert workspace.find("demo", "corpus", "abc") is None
    with workspace.making("demo", "corpus", "abc") as making:
        assert making.resumed
        assert (making.work / "half").read_text() == "x"


def test_a_remade_artifact_stands_beside_the_old_one(workspace: Workspace) -> None:
    old = make(workspace, "corpus", "one")
    new = make(workspace, "corpus", "two")
    assert (old.path.name, new.path.name) == ("abc", "abc-2")
    assert (old.path / "data.txt").read_text() == "one"
    assert workspace.current("demo", "corpus") == new
    assert workspace.find("demo", "corpus", "abc") == new
    workspace.use(old)
    assert workspace.current("demo", "corpus") == old


def test_digest_ignores_how_the_making_went(workspace: Workspace) -> None:
    digests = []
    for stage, seconds in (("a", "1.5"), ("b", "2.5")):
        with workspace.making("demo", stage, "abc") as making:
            (making.work / "weights").write_text("same")
            (making.work / "metrics.jsonl").write_text(seconds)
            digests.append(making.commit(record(f"demo/{stage}", "abc")).digest)
    assert digests[0] == digests[1]
    assert digests[0] != make(workspace, "c", "other").digest


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_verify_names_the_damaged_file(workspace: Workspace, damage: str) -> None:
    artifact = make(workspace, "corpus", "content")
    file = artifact.path / "data.txt"
    file.write_text("tampered") if damage == "change" else file.unlink()
    with pytest.raises(ArtifactError, match=r"data\.txt") as caught:
        artifact.verify()
    assert "--force corpus" in str(caught.value)
    assert artifact.missing() == (["data.txt"] if damage == "remove" else [])


def test_verify_follows_no_file_outside(workspace: Workspace, tmp_path: Path) -> None:
    artifact = make(workspace, "corpus", "content")
    (tmp_path / "secret").write_text("s")
    place = artifact.path / "artifact.json"
    content = json.loads(place.read_text())
    content["files"] = {"../../../../secret": "0"}
    place.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="outside"):
        Artifact.open(artifact.path).verify()


def test_resolve_by_full_name_stage_and_path(workspace: Workspace) -> None:
    artifact = make(workspace, "corpus", "x")
    assert workspace.resolve("demo/corpus") == artifact
    assert workspace.resolve("corpus") == artifact
    assert workspace.resolve(str(artifact.path)) == artifact
    assert [found.name for found in workspace.artifacts()] == ["demo/corpus"]


def test_resolve_refuses_what_is_not_there_and_offers_what_is_near(workspace: Workspace) -> None:
    make(workspace, "corpus", "x")
    with pytest.raises(ArtifactError, match="did you mean corpus"):
        workspace.resolve("corpsu")


def test_resolve_refuses_a_stage_that_two_recipes_have(workspace: Workspace) -> None:
    make(workspace, "corpus", "x")
    with workspace.making("other", "corpus", "abc") as making:
        workspace.use(making.commit(record("other/corpus", "abc")))
    with pytest.raises(ArtifactError, match="demo/corpus or other/corpus"):
        workspace.resolve("corpus")


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", ".hidden", "a" * 65, "x\n"])
def test_names_cannot_leave_the_workspace(workspace: Workspace, name: str) -> None:
    with pytest.raises(ArtifactError, match="cannot be the name"):
        workspace.stage_directory("demo", name)
    with pytest.raises(ArtifactError, match="cannot be the name"):
        workspace.stage_directory(name, "corpus")


def test_a_name_with_dots_does_not_lead_out(workspace: Workspace, tmp_path: Path) -> None:
    make(workspace, "corpus", "x")
    with pytest.raises(ArtifactError, match="There is no artifact") as refused:
        workspace.resolve("../corpus")
    assert refused.value.hint == "did you mean corpus?"


def test_where_no_name_is_near_there_is_still_something_to_do(workspace: Workspace) -> None:
    for _ in range(2):
        with pytest.raises(ArtifactError) as refused:
            workspace.resolve("zzz")
        assert "hanji run RECIPE" in (refused.value.hint or "")
        make(workspace, "corpus", "x")


def test_korean_names(workspace: Workspace) -> None:
    make(workspace, "말뭉치", "글")
    assert workspace.resolve("말뭉치").name == "demo/말뭉치"


HOLDER = """
import sys, time
from pathlib import Path
from hanji.artifacts.workspace import Workspace
with Workspace(Path(sys.argv[1])).making("demo", "corpus", "abc") as making:
    (making.work / "half").write_text("x")
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_maker_is_refused_and_a_dead_one_is_taken_over(workspace: Workspace) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(workspace.root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ArtifactError, match=f"being made by process {holder.pid}"),
            workspace.making("demo", "corpus", "abc"),
        ):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with workspace.making("demo", "corpus", "abc") as making:
        assert making.resumed


def test_lineage_walks_to_the_sources_and_marks_what_changed(workspace: Workspace) -> None:
    corpus = make(workspace, "corpus", "text", parents={"a.txt": {"path": "/data/a.txt", "digest": "d"}})
    place = str(corpus.path.relative_to(workspace.root))
    model = make(workspace, "base", "w", parents={"corpus": {"path": place, "digest": corpus.digest}})
    stale = make(workspace, "late", "w", parents={"corpus": {"path": place, "digest": "another"}})

    root = lineage(workspace, model)
    assert root.name == "demo/base"
    (parent,) = root.parents
    assert (parent.name, parent.artifact, parent.changed) == ("corpus", corpus, False)
    (source,) = parent.parents
    assert (source.name, source.artifact, source.path) == ("a.txt", None, "/data/a.txt")
    assert lineage(workspace, stale).parents[0].changed


def test_fingerprints_do_not_depend_on_order() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": [2, 1]}) != fingerprint({"a": [1, 2]})
    assert canonical({"b": "한", "a": 0.001}) == '{"a":0.001,"b":"한"}'.encode()


def test_outside_files_count_by_content_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    before = outside_digest([file])
    os.utime(file, (1, 1))
    assert outside_digest([file]) == before
    file.write_text("two")
    assert outside_digest([file]) != before

    directory = outside_digest([tmp_path])
    (tmp_path / ".hidden").write_text("x")
    assert outside_digest([tmp_path]) == directory
    (tmp_path / "b.txt").write_text("x")
    assert outside_digest([tmp_path]) != directory


def test_large_outside_files_count_by_size_time_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanji.artifacts.digest.WHOLE_FILE_BYTES", 2)
    monkeypatch.setattr("hanji.artifacts.digest._END_BYTES", 2)
    file = tmp_path / "a.txt"
    file.write_text("abcdef")
    os.utime(file, (1, 1))
    before = outside_digest([file])
    os.utime(file, (2, 2))
    assert outside_digest([file]) != before
    file.write_text("abcdeX")
    os.utime(file, (1, 1))
    assert outside_digest([file]) != before
