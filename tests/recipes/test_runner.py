"""`run` makes what is missing or stale, skips what is there, resumes, and stops when told."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hanji.artifacts.artifact import Artifact
from hanji.artifacts.workspace import Workspace
from hanji.contracts.errors import ConfigError, ResourceError
from hanji.recipes import runner
from hanji.recipes.context import Interrupted, StageContext
from hanji.recipes.link import link
from hanji.recipes.runner import Run
from hanji.recipes.schema import Recipe
from hanji.recipes.stages import MAKERS
from hanji.recipes.stopping import Stopper


@dataclass
class Makers:
    """Stands in for the real stages: writes what came in, and remembers what was made."""

    made: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)

    def make(
        self, stage: Any, inputs: Mapping[str, Artifact | str], work: Path, context: StageContext
    ) -> dict[str, Any]:
        name = context.name.partition("/")[2]
        if name in self.before:
            self.before[name](work, context)
        assert not (work / "content").exists() or stage.kind in ("pretrain", "finetune")
        seen = {key: given if isinstance(given, str) else given.digest for key, given in inputs.items()}
        (work / "content").write_text(f"{stage.kind} {sorted(seen.items())} {getattr(stage, 'limit', None)}")
        (work / "metrics.jsonl").write_text(os.urandom(4).hex())
        self.made.append(name)
        return {"inputs": len(inputs)}


@pytest.fixture
def makers(monkeypatch: pytest.MonkeyPatch) -> Makers:
    makers = Makers()
    module = types.ModuleType("fake_stages")
    module.make = makers.make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_stages", module)
    monkeypatch.setattr("hanji.recipes.fitting.plan_before_training", lambda *arguments: None)
    for kind in MAKERS:
        monkeypatch.setitem(MAKERS, kind, "fake_stages:make")
    return makers


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.txt").write_text("one")
    return Workspace(tmp_path / "runs")


def recipe(**changes: Any) -> Recipe:
    train = {"steps": 3, **changes.pop("train", {})}
    stages: dict[str, Any] = {
        "corpus": {"kind": "prepare", "source": "rows.txt"},
        "tokenizer": {"kind": "tokenizer", "data": "corpus"},
        "base": {"kind": "pretrain", "data": "corpus", "tokenizer": "tokenizer", "train": train},
        "report": {"kind": "evaluate", "models": ["base"]},
    }
    for name, settings in changes.items():
        stages[name] |= settings
    return Recipe.model_validate({"name": "q", "device": "cpu", "stages": stages})


def run(workspace: Workspace, made_of: Recipe | None = None, **options: Any) -> dict[str, Artifact]:
    return Run(link(made_of or recipe(), workspace), workspace, **options)()


def test_the_first_run_makes_everything_and_the_second_nothing(makers: Makers, workspace: Workspace) -> None:
    first = run(workspace)
    assert makers.made == ["corpus", "tokenizer", "base", "report"]
    assert run(workspace) == first
    assert len(makers.made) == 4
    base = first["base"]
    assert base.path.parent == workspace.root / "q" / "base"
    assert base.record.kind == "pretrain"
    assert base.record.config["train"]["steps"] == 3
    assert base.record.parents["corpus"]["digest"] == first["corpus"].digest
    assert base.record.parents["corpus"]["name"] == "q/corpus"
    assert (workspace.root / base.record.parents["corpus"]["path"]).resolve() == first[
        "corpus"
    ].path.resolve()
    assert base.metrics == {"inputs": 2}
    assert set(base.record.files) == {"content", "metrics.jsonl"}
    base.verify()


def test_a_changed_setting_remakes_the_stage_and_what_depends_on_it(
    makers: Makers, workspace: Workspace
) -> None:
    before = run(workspace)
    makers.made.clear()
    run(workspace, recipe(corpus={"limit": 5}))
    assert makers.made == ["corpus", "tokenizer", "base", "report"]
    makers.made.clear()
    run(workspace, recipe(train={"learning_rate": 0.5}))
    assert makers.made == ["base"], "the fake model is the same, so that its report stays"
    makers.made.clear()
    assert run(workspace)["corpus"].path == before["corpus"].path.resolve(), (
        "the first settings are found again"
    )
    assert makers.made == []
    assert workspace.resolve("q/corpus").path == before["corpus"].path.resolve()


@pytest.mark.parametrize(
    "train", [{"micro_batch_tokens": 7}, {"log_every": 1}, {"trackers": ["wandb"]}, {"checkpoint_every": 1}]
)
def test_settings_that_change_no_result_remake_nothing(
    makers: Makers, workspace: Workspace, train: dict[str, Any]
) -> None:
    run(workspace)
    makers.made.clear()
    run(workspace, recipe(train=train))
    assert makers.made == []


def test_a_changed_source_or_seed_remakes_all(makers: Makers, workspace: Workspace, tmp_path: Path) -> None:
    run(workspace)
    makers.made.clear()
    (tmp_path / "rows.txt").write_text("two")
    run(workspace)
    assert "corpus" in makers.made
    makers.made.clear()
    run(workspace, recipe().model_copy(update={"seed": 1}))
    assert makers.made == ["corpus", "tokenizer", "base", "report"]


def test_force_makes_anew_and_until_goes_no_further(makers: Makers, workspace: Workspace) -> None:
    before = run(workspace, until="tokenizer")
    assert makers.made == ["corpus", "tokenizer"]
    assert set(before) == {"corpus", "tokenizer"}
    makers.made.clear()
    after = run(workspace, force=["corpus"], until="tokenizer")
    assert makers.made == ["corpus"], "the same content came out, so that the tokenizer stays"
    assert after["corpus"].path != before["corpus"].path
    assert before["corpus"].path.is_dir()
    assert workspace.resolve("q/corpus").path == after["corpus"].path.resolve()
    with pytest.raises(ConfigError, match="did you mean corpus"):
        run(workspace, force=["corpsu"])


def test_an_artifact_that_lost_a_file_is_made_again(makers: Makers, workspace: Workspace) -> None:
    lost = run(workspace)["corpus"]
    (lost.path / "content").unlink()
    makers.made.clear()
    run(workspace)
    assert makers.made == ["corpus"]


def test_training_finds_what_a_cut_off_attempt_left_and_other_stages_do_not(
    makers: Makers, workspace: Workspace
) -> None:
    found: dict[str, bool] = {}

    def cut_off(work: Path, context: StageContext) -> None:
        (work / "checkpoint").write_text("step 1")
        raise RuntimeError("power cut")

    def look(work: Path, context: StageContext) -> None:
        found[context.name] = (work / "checkpoint").exists()

    for name in ("corpus", "base"):
        makers.before[name] = cut_off
        with pytest.raises(RuntimeError, match="power cut"):
            run(workspace)
        makers.before[name] = look
        run(workspace, until=name)
    assert found == {"q/corpus": False, "q/base": True}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_training_where_it_says(
    makers: Makers, workspace: Workspace, number: signal.Signals, code: int
) -> None:
    def step(work: Path, context: StageContext) -> None:
        (work / "checkpoint").write_text("step 1")
        os.kill(os.getpid(), number)
        assert context.stop.wait(5)
        raise Interrupted("stopped after step 1")

    handler = signal.getsignal(number)
    makers.before["base"] = step
    with pytest.raises(Interrupted, match="after step 1") as caught:
        run(workspace)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) == handler
    del makers.before["base"]
    run(workspace)
    assert makers.made == ["corpus", "tokenizer", "base", "report"]


def test_a_signal_ends_other_work_at_once(makers: Makers, workspace: Workspace) -> None:
    def forever(work: Path, context: StageContext) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)
        pytest.fail("it went on")

    makers.before["tokenizer"] = forever
    with pytest.raises(Interrupted) as caught:
        run(workspace)
    assert caught.value.exit_code == 143
    assert workspace.current("q", "corpus") is not None
    assert workspace.current("q", "tokenizer") is None


def test_training_that_ends_in_the_moment_of_the_signal_is_kept(makers: Makers, workspace: Workspace) -> None:
    makers.before["base"] = lambda work, context: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted, match="q/base, which is made"):
        run(workspace)
    assert workspace.current("q", "base") is not None
    assert "report" not in makers.made


def test_a_full_disk_is_told_as_such(makers: Makers, workspace: Workspace) -> None:
    def full(work: Path, context: StageContext) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    makers.before["corpus"] = full
    with pytest.raises(ResourceError, match="disk is full"):
        run(workspace)


def test_other_ranks_train_along_and_take_what_rank_0_made(
    makers: Makers, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Path] = []
    together = threading.Barrier(2, timeout=20)

    def train(work: Path, context: StageContext) -> None:
        trained.append(work)
        together.wait()

    makers.before["base"] = train
    ranks = threading.local()
    monkeypatch.setattr(runner, "rank", lambda: ranks.number)
    results: dict[int, dict[str, Artifact]] = {}

    def process(number: int) -> None:
        ranks.number = number
        results[number] = run(workspace, stopper=Stopper())

    threads = [threading.Thread(target=process, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {name: made.path for name, made in results[0].items()} == {
        name: made.path for name, made in results[1].items()
    }
    assert trained[0] == trained[1], "both trained in the same directory"
    assert sorted(makers.made) == ["base", "base", "corpus", "report", "tokenizer"]


def test_ranks_cannot_follow_a_forced_stage_that_only_rank_0_makes(
    makers: Makers, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="--force corpus --until corpus"):
        run(workspace, force=["base", "corpus"])


def test_stages_are_told_to_the_watcher(makers: Makers, workspace: Workspace) -> None:
    told: list[str] = []

    class Watcher:
        def kept(self, artifact: Artifact) -> None:
            told.append(f"kept {artifact.name}")

        def begins(self, name: str, number: int, total: int, resumed: bool) -> None:
            told.append(f"begins {name} {number}/{total} {resumed}")

        def made(self, artifact: Artifact) -> None:
            told.append(f"made {artifact.name}")

    run(workspace, until="corpus")
    run(workspace, until="tokenizer", watcher=Watcher())
    assert told == ["kept q/corpus", "begins tokenizer 2/2 False", "made q/tokenizer"]


def test_every_maker_exists() -> None:
    from importlib import import_module

    from hanji.recipes.schema import STAGES

    assert set(MAKERS) == set(STAGES)
    for place in MAKERS.values():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function))
