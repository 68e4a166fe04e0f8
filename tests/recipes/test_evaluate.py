"""The stage `evaluate`, on models that a tiny recipe makes."""

import json
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import hanji
from hanji.tokenizers.tokenizer import Tokenizer

RECIPE = """
name: tiny
device: cpu
stages:
  corpus: {kind: prepare, source: SOURCES/corpus.jsonl, split: {validation: 0.2, test: 0.1}}
  questions: {kind: prepare, source: SOURCES/questions.jsonl, split: {validation: 0.2}}
  tokenizer: {kind: tokenizer, data: corpus, vocab_size: 300}
  base:
    kind: pretrain
    data: corpus
    tokenizer: tokenizer
    model: {model_type: llama, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 1,
            num_attention_heads: 2, max_position_embeddings: 128}
    train: {steps: 12, sequence_length: 32, batch_tokens: 128, learning_rate: 1e-2, log_every: 1}
  chat:
    kind: finetune
    model: base
    data: questions
    train: {steps: 12, sequence_length: 64, batch_tokens: 256, learning_rate: 1e-2, log_every: 1}
  report: {kind: evaluate, models: [base, chat], prompts: [What is 한지?, Hello], max_new_tokens: 8}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    here = tmp_path_factory.mktemp("recipe")
    words = ["paper", "mulberry", "한지", "bark", "water", "닥나무", "sheet", "hand", "made", "dry"]
    texts = [" ".join(words[(i * j) % 10] for j in range(1, 12 + i % 7)) + f" {i}." for i in range(60)]
    chats = [
        {"question": f"What is {word} {n}?", "answer": f"It is {word}."} for word in words for n in range(4)
    ]
    for name, rows in (("corpus", [{"text": text} for text in texts]), ("questions", chats)):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (here / f"{name}.jsonl").write_text("\n".join(lines), "utf-8")
    (here / "tiny.yaml").write_text(RECIPE.replace("SOURCES", str(here)), "utf-8")
    return hanji.run(here / "tiny.yaml", runs=here / "runs") | {"runs": here / "runs"}


def _read(artifact, name):
    return json.loads((artifact.path / name).read_text("utf-8"))


def test_a_model_scores_what_plain_transformers_scores_on_the_same_rows(made):
    """The held-out loss of the base model, from the test rows, one after another, in float64."""
    from hanji.data.prepared import read_rows

    model = AutoModelForCausalLM.from_pretrained(made["base"].path).double().eval()
    tokenizer = Tokenizer.load(made["base"].path)
    nats = tokens = size = 0
    for batch in read_rows(made["corpus"].path, "test"):
        for row in batch:
            text = tokenizer.encode_texts([row["text"]])[0].tolist()
            ids = [index for index in (tokenizer.bos_id, *text, tokenizer.eos_id) if index is not None]
            for start in range(0, len(ids) - 1, 31):  # a piece begins with the last token of the one before
                piece = torch.tensor([ids[start : start + 32]])
                with torch.no_grad():
                    nats += float(model(piece, labels=piece).loss) * (piece.shape[1] - 1)
            tokens += len(ids) - 1
            size += len(row["text"].encode())
    found = _read(made["report"], "scores.json")["base"]["held_out"]
    assert found["tokens"] == tokens
    assert found["loss"] == pytest.approx(nats / tokens, rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(
        nats / torch.log(torch.tensor(2.0)).item() / size, rel=1e-5
    )


def test_the_scores_are_the_metrics_and_a_bigram_stands_beside_text_alone(made):
    scores = _read(made["report"], "scores.json")
    assert made["report"].metrics["scores"] == scores
    assert set(scores["base"]) == {"held_out", "bigram"}
    assert set(scores["chat"]) == {"held_out", "endings"}
    assert scores["base"]["bigram"]["tokens"] == scores["base"]["held_out"]["tokens"]
    last = [json.loads(line) for line in (made["chat"].path / "metrics.jsonl").read_text().splitlines()]
    validation = [line["validation_loss"] for line in last if "validation_loss" in line]
    assert scores["chat"]["held_out"]["loss"] == pytest.approx(validation[-1], rel=1e-5)


def test_a_chat_model_is_asked_by_its_template_and_a_base_model_continues(made):
    samples = _read(made["report"], "samples.json")
    assert [sample["prompt"] for sample in samples] == ["What is 한지?", "Hello"]
    for name, prompt_ids in {
        "base": lambda tokenizer: tokenizer.encode_prompt("Hello"),
        "chat": lambda tokenizer: tokenizer.encode_chat(
            [{"role": "user", "content": "Hello"}], add_generation_prompt=True
        ).ids.tolist(),
    }.items():
        tokenizer = Tokenizer.load(made[name].path)
        model = AutoModelForCausalLM.from_pretrained(made[name].path)
        ids = prompt_ids(tokenizer)
        new = model.generate(
            torch.tensor([ids]), do_sample=False, max_new_tokens=8, eos_token_id=tokenizer.eos_ids,
            pad_token_id=tokenizer.pad_id,
        )[0, len(ids) :].tolist()  # fmt: skip
        answer = samples[1]["answers"][name]
        assert answer["tokens"] == len(new)
        assert answer["text"] == tokenizer.decode(new, skip_special_tokens=True)
        assert (answer["finish_reason"] == "stop") == (new[-1] in tokenizer.eos_ids)


def test_the_report_tells_of_everything_that_the_models_were_made_from(made):
    markdown = (made["report"].path / "report.md").read_text("utf-8")
    for title in ("At a glance", "Answers, side by side", "Training", "Data", "Tokenizer", "Lineage"):
        assert f"## {title} · " in markdown
    for name in ("corpus", "questions", "tokenizer", "base", "chat"):
        assert f"{name}  [{made[name].kind} {made[name].record.fingerprint}]" in markdown
    assert "corpus (test)" in markdown and "questions (validation)" in markdown


def test_a_model_from_outside_is_scored_on_the_data_given(made):
    model = str(made["chat"].path)
    copy = Path(model).parents[3] / "elsewhere"
    copy.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (copy / name).write_bytes((Path(model) / name).read_bytes())
    for template in Path(model).glob("chat_template*"):
        (copy / template.name).write_bytes(template.read_bytes())
    found = hanji.make(
        "evaluate", f"models={copy}", f"data={made['questions'].path}", "prompts=Hello", "name=outside",
        runs=made["runs"],
    )  # fmt: skip
    scores = _read(found, "scores.json")["elsewhere"]
    own = _read(made["report"], "scores.json")["chat"]["held_out"]
    assert scores["held_out"]["loss"] == pytest.approx(own["loss"], rel=1e-5)
    assert scores["endings"]["answers"] == 1
    assert "## Training" not in (found.path / "report.md").read_text("utf-8")


def test_without_data_and_prompts_a_model_from_outside_has_no_scores(made, shared_data):
    model = shared_data / "models" / "stories260k"
    found = hanji.make("evaluate", f"models={model}", "name=nothing", runs=made["runs"])
    assert _read(found, "scores.json") == {"stories260k": {}}
    assert (found.path / "report.html").is_file()


def test_what_was_planned_stands_beside_what_was_measured(made):
    plan = {"parameters": 12345, "memory_bytes": 2.5e8, "seconds": 100.0}
    (made["base"].path / "plan.json").write_text(json.dumps(plan))
    found = hanji.make("evaluate", f"models={made['base'].name}", "name=planned", runs=made["runs"])
    markdown = (found.path / "report.md").read_text("utf-8").replace("\N{NO-BREAK SPACE}", " ")
    rows = re.findall(r"\| tiny/base \| (.+) \| (.+) \| (.+) \| (.+) \|", markdown.partition("## Plan")[2])
    told = {quantity: (planned, measured) for quantity, planned, measured, _ in rows}
    assert told["parameters"] == ("12,345", f"{made['base'].metrics['parameters']:,}")
    assert told["time"][0] == "1 min 40 s"
    assert told["peak memory"][0] == "250 MB"
