"""The recipes that are shipped: all can be read, and the tiny one runs, is cut off, and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hanji
from hanji.artifacts.digest import file_sha256
from hanji.artifacts.workspace import Workspace
from hanji.contracts.errors import ResourceError
from hanji.recipes.link import link
from hanji.recipes.load import load_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_shipped_recipe_is_sound(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    recipe, where = load_recipe(file)
    assert recipe.name == file.stem
    link(recipe, Workspace(tmp_path), where)


def local(tmp_path: Path) -> list[str]:
    """Overrides that let the tiny recipe read a little text of its own, which takes no time to collect."""
    colours = ["red", "green", "blue", "white", "black", "yellow"]
    things = ["paper", "ink", "brush", "stone", "tree", "river", "bridge", "house"]
    texts = [f"The {thing} is {colour}. It was {colour} yesterday." for colour in colours for thing in things]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    asked = [f"What colour is the {thing}?,It is {colour}." for colour in colours for thing in things]
    (tmp_path / "questions.csv").write_text("question,answer\n" + "\n".join(asked) + "\n")
    return [
        f"corpus.source={{path: {tmp_path / 'texts.txt'}, documents: line}}",
        f"questions.source={tmp_path / 'questions.csv'}",
        "tokenizer.vocab_size=300",
        "base.train={steps: 6, sequence_length: 64, batch_tokens: 128}",
        "chat.train={steps: 4, sequence_length: 64, batch_tokens: 128}",
        "report.max_new_tokens=4",
        "device=cpu",
    ]


def test_the_tiny_recipe_makes_a_model_that_answers_and_a_report(tmp_path: Path) -> None:
    overrides = local(tmp_path)
    made = hanji.run(ROOT / "recipes/tiny.yaml", *overrides, runs=tmp_path / "runs")
    assert list(made) == ["corpus", "questions", "tokenizer", "base", "chat", "report"]
    assert (made["report"].path / "report.html").stat().st_size > 10_000
    assert made["base"].metrics["steps"] == 6
    assert "plan.json" in made["base"].record.files
    for artifact in made.values():
        artifact.verify()
    again = hanji.run(ROOT / "recipes/tiny.yaml", *overrides, runs=tmp_path / "runs")
    assert {name: artifact.path for name, artifact in again.items()} == {
        name: artifact.path for name, artifact in made.items()
    }
    assert hanji.find("chat", runs=tmp_path / "runs").name == "tiny/chat"


def test_what_cannot_fit_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanji.recipes.plan.estimate.available_bytes", lambda device: 1e6)
    monkeypatch.setattr(
        "hanji.recipes.stages.pretrain.make", lambda *arguments: pytest.fail("it was started")
    )
    with pytest.raises(ResourceError, match="no setting makes llama-nano fit") as caught:
        hanji.run(
            ROOT / "recipes/tiny.yaml",
            *local(tmp_path),
            until="base",
            runs=tmp_path,
        )
    assert "base needs" in caught.value.problem


def test_one_stage_on_a_file_and_a_model_of_another_recipe(tmp_path: Path) -> None:
    overrides = local(tmp_path)
    hanji.run(ROOT / "recipes/tiny.yaml", *overrides, until="base", runs=tmp_path / "runs")
    settings = ["model=base", f"data={tmp_path / 'questions.csv'}", "train={steps: 2, sequence_length: 64}"]
    made = hanji.make("finetune", *settings, "name=mine", "device=cpu", runs=tmp_path / "runs")
    assert made.name == "finetune/mine"
    assert set(made.record.parents) == {"base", "mine-data"}
    assert hanji.find("mine-data", runs=tmp_path / "runs").kind == "prepare"


def command(tmp_path: Path, runs: str, *more: str) -> list[str]:
    recipe = str(ROOT / "recipes/tiny.yaml")
    steps = ["base.train.steps=40", "base.train.checkpoint_every=3", "--until", "base"]
    return [
        sys.executable,
        "-m",
        "hanji",
        "run",
        recipe,
        *local(tmp_path),
        *steps,
        "--runs",
        str(tmp_path / runs),
        *more,
    ]


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(tmp_path, "whole"), check=True, env=environment)

    cut = subprocess.Popen(command(tmp_path, "cut"), env=environment, stderr=subprocess.PIPE, text=True)
    stage = tmp_path / "cut" / "tiny" / "base"
    deadline = time.monotonic() + 120
    while not list(stage.glob("*.partial/checkpoints/*")):
        assert cut.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    cut.send_signal(signal.SIGTERM)
    _, told = cut.communicate(timeout=60)
    assert cut.returncode == 143, told
    assert "goes on from there" in told
    assert not (stage / "current").exists()

    resumed = subprocess.run(
        command(tmp_path, "cut"), check=True, env=environment, capture_output=True, text=True
    )
    assert "resumed from step" in resumed.stderr
    weights = [
        file_sha256(tmp_path / runs / "tiny" / "base" / "current" / "model.safetensors")
        for runs in ("whole", "cut")
    ]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_the_tiny_recipe_as_it_is_shipped(tmp_path: Path) -> None:
    shipped = [sys.executable, "-m", "hanji", "run", str(ROOT / "recipes/tiny.yaml"), "--runs", str(tmp_path)]
    first = subprocess.run(shipped, check=True, capture_output=True, text=True)
    assert "report.html" in first.stdout
    assert "hanji chat tiny/chat" in first.stdout
    second = subprocess.run(shipped, check=True, capture_output=True, text=True)
    assert "Everything is made." in second.stderr


@pytest.mark.slow
def test_two_ranks_make_one_artifact(tmp_path: Path) -> None:
    one = command(tmp_path, "runs")
    ranks = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *one[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(ranks, check=True, env=environment, capture_output=True, text=True)
    assert done.stderr.count("tiny/base: made in") == 1
    again = subprocess.run(one, check=True, env=environment, capture_output=True, text=True)
    assert "Everything is made." in again.stderr
