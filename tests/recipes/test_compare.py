"""`compare` on tiny models, from the recipe to the table: its numbers, what is made again, and the verb."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import hanji
from hanji.artifacts.artifact import Artifact
from hanji.cli.app import app
from hanji.cli.ways import ways
from hanji.contracts.errors import ConfigError, ModelError
from hanji.data.prepared import read_rows
from hanji.tokenizers.tokenizer import Tokenizer

TRAIN = "train: {steps: 6, sequence_length: 96, batch_tokens: 288, learning_rate: 2e-3, evaluate_every: 0}"
RECIPE = f"""
name: tiny
device: cpu
stages:
  corpus: {{kind: prepare, source: HERE/corpus.txt, split: {{validation: 0.1}}}}
  tokenizer: {{kind: tokenizer, data: corpus, vocab_size: 300}}
  base:
    kind: pretrain
    data: corpus
    tokenizer: tokenizer
    model: {{model_type: llama, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2,
            num_attention_heads: 2, max_position_embeddings: 128}}
    {TRAIN}
  answers: {{kind: prepare, source: HERE/answers.jsonl, split: {{validation: 0.1, test: 0.3}}}}
  chats:
    kind: compare
    model: base
    data: answers
    methods: [full, lora, {{name: lora, rank: 1}}, prompt]
    baselines: base
    {TRAIN}
  blank:
    kind: pretrain
    model: HERE/small.json
    tokenizer: tokenizer
    data: HERE/labels.csv
    objective: classify
    {TRAIN}
  labels:
    kind: compare
    model: base
    data: HERE/labels.csv
    objective: classify
    methods: [freeze, adapter]
    score: macro_f1
    baselines: blank
    {TRAIN}
  pairs:
    kind: compare
    model: base
    data: HERE/pairs.jsonl
    objective: dpo
    methods: [full, lora]
    {TRAIN}
"""


def write(here: Path) -> Path:
    colours = ["red", "green", "blue", "white", "black", "yellow"]
    things = ["paper", "ink", "brush", "stone", "tree", "river", "bridge", "house"]
    both = [(colour, thing) for colour in colours for thing in things]
    (here / "corpus.txt").write_text(
        "\n\n".join(f"The {t} is {c}. It was {c} yesterday." * 9 for c, t in both)
    )
    rows = {
        "answers": [{"prompt": f"The {t}, is it {c}?", "completion": f"It is {c}."} for c, t in both],
        "pairs": [{"prompt": f"{t}?", "chosen": f"It is {c}.", "rejected": "No."} for c, t in both],
    }
    for name, lines in rows.items():
        (here / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    labelled = [
        f"The {t} is {c} or {d},{'warm' if c in ('red', 'yellow') else 'cold'}" for c, t in both for d in "ab"
    ]
    (here / "labels.csv").write_text("text,label\n" + "\n".join(labelled) + "\n")
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    (here / "small.json").write_text(
        json.dumps({"model_type": "llama", **shape, "max_position_embeddings": 128})
    )
    (here / "tiny.yaml").write_text(RECIPE.replace("HERE", str(here)))
    return here / "tiny.yaml"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipe")


@pytest.fixture(scope="module")
def made(here: Path) -> dict[str, Artifact]:
    return hanji.run(write(here), runs=here / "runs")


def told(made: dict[str, Artifact], name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made[name].path / "comparison.json").read_text())
    found["by_name"] = {way["name"]: way for way in found["ways"]}
    return found


def test_costs_are_those_of_the_artifacts(made: dict[str, Artifact]) -> None:
    found = told(made, "chats")
    assert [way["name"] for way in found["ways"]] == ["full", "lora", "lora-2", "prompt", "base", "prompting"]
    for name in ("full", "lora", "lora-2", "prompt"):
        way, artifact = found["by_name"][name], made[f"chats-{name}"]
        for figure in ("steps", "parameters", "trained_parameters", "peak_memory_bytes", "seconds"):
            assert way[figure] == artifact.metrics[figure] > 0, figure
        assert way["learning_rate"] == artifact.record.config["train"]["learning_rate"]
        weights = [artifact.path / file for file in artifact.record.files if file.endswith(".safetensors")]
        assert way["bytes_on_disk"] == sum(file.stat().st_size for file in weights) > 0
    rates = {name: way["learning_rate"] for name, way in found["by_name"].items()}
    assert (rates["full"], rates["lora"], rates["prompt"]) == (2e-3, 5e-3, 5e-2)
    assert found["by_name"]["lora-2"]["options"] == "rank 1"
    assert found["by_name"]["lora-2"]["bytes_on_disk"] < found["by_name"]["lora"]["bytes_on_disk"]
    assert found["by_name"]["prompting"]["quality"] is None


def test_quality_is_the_loss_of_the_test_rows_as_plain_transformers_has_it(made: dict[str, Artifact]) -> None:
    found = told(made, "chats")
    assert (found["score"], found["lower_is_better"], found["held_out"]) == ("loss", True, "answers (test)")
    model = AutoModelForCausalLM.from_pretrained(made["chats-full"].path).double().eval()
    tokenizer = Tokenizer.load(made["chats-full"].path)
    nats, tokens = [], []
    for batch in read_rows(made["answers"].path, "test"):
        for row in batch:
            chat = tokenizer.encode_chat(row["messages"])
            ids = torch.tensor(chat.ids.astype(np.int64))[None]
            labels = torch.where(torch.tensor(chat.trained), ids[0], -100)[None]
            with torch.no_grad():
                count = int(chat.trained[1:].sum())
                nats.append(float(model(ids, labels=labels).loss) * count)
            tokens.append(count)
    assert found["rows"] == len(nats) > 5
    quality = found["by_name"]["full"]["quality"]
    assert quality["value"] == pytest.approx(sum(nats) / sum(tokens), rel=1e-5)
    assert quality["low"] < quality["value"] < quality["high"]
    assert made["chats"].metrics["quality"]["full"] == quality["value"]


def test_a_baseline_is_scored_on_the_rows_and_the_objective_of_the_ways(made: dict[str, Artifact]) -> None:
    found = told(made, "chats")["by_name"]
    assert found["base"]["role"] == "baseline"
    assert found["base"]["scores"]["tokens"] == found["full"]["scores"]["tokens"]
    assert found["base"]["behind_the_best"]["same_rows"]
    labels = told(made, "labels")
    assert labels["by_name"]["blank"]["quality"]["value"] == pytest.approx(
        labels["by_name"]["blank"]["scores"]["macro_f1"]
    )


def test_labels_are_told_by_the_score_asked_for_and_share_their_data(made: dict[str, Artifact]) -> None:
    found = told(made, "labels")
    assert found["score"] == "macro_f1" and found["held_out"] == "labels-data (test)"
    for name in ("freeze", "adapter"):
        way = found["by_name"][name]
        assert way["quality"]["value"] == way["scores"]["macro_f1"]
        assert way["quality"]["low"] == way["scores"]["macro_f1_low"]
        assert made[f"labels-{name}"].record.parents["labels-data"]["digest"] == made["labels-data"].digest
    assert [name for name in made if name.endswith("-data")] == ["blank-data", "labels-data", "pairs-data"]


def test_dpo_is_told_by_what_its_training_ended_with(made: dict[str, Artifact]) -> None:
    found = told(made, "pairs")
    assert found["scored_in_training"] and found["rows"] is None
    for name in ("full", "lora"):
        metrics = made[f"pairs-{name}"].metrics
        assert found["by_name"][name]["quality"] == {
            "value": metrics["validation_accuracy"],
            "low": metrics["validation_accuracy_low"],
            "high": metrics["validation_accuracy_high"],
        }
    assert "validation rows as training ended" in (made["pairs"].path / "report.md").read_text("utf-8")


def test_the_report_tells_of_every_way(made: dict[str, Artifact]) -> None:
    markdown = (made["chats"].path / "report.md").read_text("utf-8")
    for title in ("Which way?", "All scores", "How this was measured", "Training", "Lineage"):
        assert f"## {title} · " in markdown
    assert told(made, "chats")["advice"]["en"].replace("\N{NO-BREAK SPACE}", " ") in markdown.replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert "chats-lora-2: finetune · sft · lora" in markdown
    assert (made["chats"].path / "report.html").stat().st_size > 20_000


def test_a_second_run_makes_nothing_and_a_new_way_makes_only_itself(
    made: dict[str, Artifact], here: Path
) -> None:
    runs = here / "runs"
    again = hanji.run(here / "tiny.yaml", runs=runs)
    assert {name: found.path for name, found in again.items()} == {
        name: found.path for name, found in made.items()
    }
    more = hanji.run(here / "tiny.yaml", "chats.methods=[full, freeze]", until="chats", runs=runs)
    assert more["chats-full"].path == made["chats-full"].path
    assert more["chats"].path != made["chats"].path
    assert [way["name"] for way in told(more, "chats")["ways"]] == ["full", "freeze", "base", "prompting"]
    back = hanji.run(here / "tiny.yaml", "chats.score=accuracy", "chats.train.log_every=1", runs=runs)
    assert [name for name in back if back[name].path != made[name].path] == ["chats"], (
        "scored anew, not trained"
    )
    assert told(back, "chats")["by_name"]["full"]["quality"]["value"] == pytest.approx(
        told(made, "chats")["by_name"]["full"]["scores"]["accuracy"]
    )


def test_what_was_cut_off_goes_on_with_the_ways_that_are_missing(
    made: dict[str, Artifact], here: Path, tmp_path: Path
) -> None:
    """The prompt was not trained when the power failed: the others stay."""
    runs = tmp_path / "runs"
    shutil.copytree(here / "runs", runs, symlinks=True)
    for stage in ("chats-prompt", "chats"):
        shutil.rmtree(runs / "tiny" / stage)
    before = {path.name: path.stat().st_ino for path in (runs / "tiny" / "chats-lora").iterdir()}
    again = hanji.run(here / "tiny.yaml", until="chats", runs=runs)
    assert {path.name: path.stat().st_ino for path in (runs / "tiny" / "chats-lora").iterdir()} == before
    assert (
        again["chats-prompt"].record.files["adapter_model.safetensors"]
        == (made["chats-prompt"].record.files["adapter_model.safetensors"])
    )


def verb(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["compare", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.stdout.split())


def test_the_verb_prints_the_table_and_the_advice(made: dict[str, Artifact], here: Path) -> None:
    said = verb(str(here / "tiny.yaml"), "--stage", "labels", "--runs", str(here / "runs"))
    found = told(made, "labels")
    assert " ".join(found["advice"]["en"].split()) in said
    assert f"{100 * found['by_name']['adapter']['quality']['value']:.1f} (" in said
    assert "blank (baseline)" in said and "prompting, nothing trained not measured yet" in said
    assert "report.html" in said


def test_a_narrow_terminal_has_the_names_and_less_beside_them(made: dict[str, Artifact]) -> None:
    file = io.StringIO()
    Console(width=80, file=file).print(ways(made["chats"].path, 80))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.replace("✓", " ").split()[0] for line in lines if "%" in line and " MB" in line]
    assert rows == ["full", "lora", "lora-2", "prompt", "base"]


def test_the_verb_compares_every_method_on_a_recipe_that_does_not(
    made: dict[str, Artifact], here: Path
) -> None:
    plain = here / "plain.yaml"
    plain.write_text(
        "name: plain\ndevice: cpu\nstages:\n  tuned: {kind: finetune, model: tiny/base, data: tiny/answers, "
        f"method: {{name: lora, rank: 2}}, {TRAIN}}}\n"
    )
    said = verb(str(plain), "--runs", str(here / "runs"))
    assert "plain/compare-tuned " in said
    assert not (here / "runs" / "plain" / "tuned").exists(), "the stage itself is not needed"
    for name in ("full", "freeze", "adapter", "prompt", "lora"):
        assert (here / "runs" / "plain" / f"compare-tuned-{name}" / "current").exists()
    assert "hanji chat plain/compare-tuned-" in said


def test_the_verb_with_keys_is_a_recipe_of_one_stage(made: dict[str, Artifact], here: Path) -> None:
    keys = ["model=tiny/base", "data=tiny/answers", "methods=prompt", "name=mine", "device=cpu"]
    sizes = ["train={steps: 2, sequence_length: 64, batch_tokens: 128}", "--runs", str(here / "runs")]
    assert "prompt is the only way that was scored" in verb(*keys, *sizes)
    assert (here / "runs" / "compare" / "mine-prompt" / "current").exists()


def test_what_the_verb_cannot_compare(here: Path) -> None:
    nothing = here / "nothing.yaml"
    nothing.write_text("name: nothing\nstages:\n  rows: {kind: prepare, source: python-docs}\n")
    done = CliRunner().invoke(app, ["compare", str(nothing)])
    assert done.exit_code == 2
    assert "has nothing to compare" in done.stderr and "of kind finetune" in done.stderr
    done = CliRunner().invoke(app, ["compare", str(here / "tiny.yaml"), "--stage", "lables"])
    assert "did you mean labels?" in done.stderr


def test_what_cannot_be_scored_is_said_and_nothing_is_trained_again(
    made: dict[str, Artifact], here: Path
) -> None:
    with pytest.raises(ConfigError, match="no score of this name") as caught:
        hanji.run(here / "tiny.yaml", "labels.score=pearson", until="labels", runs=here / "runs")
    assert "accuracy, macro_f1, matthews" in str(caught.value)
    with pytest.raises(ModelError, match="needs a classification head"):
        hanji.run(here / "tiny.yaml", "labels.baselines=base", until="labels", runs=here / "runs")
