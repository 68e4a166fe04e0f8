"""What a recipe may say, and how it is told what it may not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hanji.contracts.errors import ConfigError
from hanji.methods import METHODS
from hanji.objectives import OBJECTIVES
from hanji.recipes.load import load_recipe, one_stage
from hanji.recipes.schema import STAGES, Recipe

RECIPE = """\
name: q
stages:
  corpus: {kind: prepare, source: python-docs, split: {validation: 0.02}}
  tokenizer: {kind: tokenizer, data: corpus, vocab_size: 4_096}
  base:
    kind: pretrain
    tokenizer: tokenizer
    data: corpus
    train: {tokens: 2_000_000, learning_rate: 3e-3, sequence_length: 256}
  chat: {kind: finetune, model: base, data: [{data: corpus, weight: 1}]}
  report: {kind: evaluate, models: [base, chat], prompts: What is a list?}
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def loading(*overrides: str, text: str = RECIPE) -> Recipe:
        file = tmp_path / "r.yaml"
        file.write_text(text)
        return load_recipe(file, overrides)[0]

    return loading


def test_the_design_s_recipe(load: Any) -> None:
    recipe = load()
    assert recipe.stages["tokenizer"].vocab_size == 4096
    assert recipe.stages["base"].train.tokens == 2_000_000
    assert recipe.stages["base"].train.learning_rate == 0.003
    assert recipe.stages["corpus"].source[0].path == "python-docs"
    assert recipe.stages["chat"].data[0].weight == 1
    assert recipe.stages["chat"].train.epochs == 3, "fine-tuning needs no budget"
    assert recipe.stages["report"].prompts == ("What is a list?",)


def test_shorthands_mean_their_long_forms(load: Any) -> None:
    short, long = (
        load("chat.data=corpus", "chat.method=full"),
        load("chat.data=[{data: corpus}]", "chat.method.name=full"),
    )
    assert short == long
    assert load("corpus.source=a") == load("corpus.source=[a]") == load("corpus.source={path: a}")


@pytest.mark.parametrize(
    ("override", "field", "told"),
    [
        ("base.train.lerning_rate=1", "base.train.lerning_rate", "did you mean learning_rate?"),
        ("base.learning_rate=1", "base.learning_rate", "did you mean train.learning_rate?"),
        ("corpus.validation=0.1", "corpus.validation", "did you mean split.validation?"),
        ("chat.data.0.weigth=1", "chat.data.0.weigth", "did you mean weight?"),
        ("sede=1", "sede", "did you mean seed?"),
        ("corpus.kind=prepaer", "corpus.kind", "did you mean prepare?"),
        ("corpus.kind=null", "corpus.kind", "prepare | tokenizer"),
        ("base.train.optimizer=adamv", "base.train.optimizer", "did you mean adamw?"),
        ("base.train.learning_rate=fast", "base.train.learning_rate", "a valid number"),
        ("base.train.learning_rate=0", "base.train.learning_rate", "greater than 0"),
        ("base.train.learning_rate=.inf", "base.train.learning_rate", "finite"),
        ("base.train.tokens=true", "base.train", "no switch"),
        ("base.train.tokens=1.5", "base.train.tokens", "integer"),
        ("base.train.tokens=null", "base.train", "give one of tokens, epochs, steps"),
        ("base.train.decay=0.1", "base.train", "belongs to schedule wsd"),
        ("base.train={steps: 1, epochs: 1}", "base.train", "exactly one"),
        (
            "base.train={steps: 1, schedule: wsd, warmup: 0.5, decay: 0.6}",
            "base.train",
            "more than the whole",
        ),
        (
            "base.train={steps: 1, schedule: constant, minimum_learning_rate_ratio: 0.1}",
            "base.train",
            "no effect",
        ),
        ("base.train.batch_tokens=100", "base.train", "less than one row"),
        ("base.objective=sft", "base", "does not support sft"),
        ("base.objective=clmm", "base.objective", "did you mean clm?"),
        ("chat.method=fulll", "chat.method", "did you mean full?"),
        ("chat.method.rank=8", "chat.method", "no option rank"),
        ("chat.method=prefix", "chat.method", "packed rows cannot hold; take prompt"),
        (
            "chat.method={name: prefix_tuning, length: 8}",
            "chat.method",
            "packed rows cannot hold; take prompt",
        ),
        ("chat.method=QLoRA", "chat.method", "lora, qlora"),
        ("chat.method={name: lora, base: 4bit}", "chat.method", "take qlora, with the same options"),
        ("chat.method={name: qlora, start: pissa}", "chat.method", "so that only the rest is rounded"),
        ("chat.method={name: lora, start: corda}", "chat.method", "pissa_niter_16"),
        ("chat.data=[{data: a, weight: 1}, b]", "chat", "every part"),
        ("chat.data=[]", "chat.data", "at least 1 item"),
        ("corpus.split={validation: 0.5, test: 0.5}", "corpus.split", "no rows to train"),
        ("tokenizer.data=null", "tokenizer", "`data` to train on"),
        ("tokenizer.source=gpt2", "tokenizer", "can have no effect"),
        (
            "tokenizer={kind: tokenizer, data: corpus, algorithm: unigram, pattern: qwen2}",
            "tokenizer",
            "belongs to",
        ),
        ("seed=-1", "seed", "greater than or equal to 0"),
        ("name=../x", "name", "pattern"),
    ],
)
def test_what_is_refused_and_what_is_said(load: Any, override: str, field: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(override)
    assert told in str(caught.value)
    assert field in str(caught.value.where)
    assert caught.value.exit_code == 2


def test_a_required_key_that_is_missing(load: Any) -> None:
    with pytest.raises(ConfigError, match="model is missing") as caught:
        load("chat={kind: finetune, data: corpus}")
    assert "A stage that makes a model" in str(caught.value.expected)


def test_the_line_of_a_mistake(load: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text=RECIPE.replace("learning_rate", "lerning_rate"))
    assert str(caught.value.where).endswith("r.yaml:9: base.train.lerning_rate")


def test_further_mistakes_are_counted(load: Any) -> None:
    with pytest.raises(ConfigError, match="1 more to mend"):
        load("base.train.learning_rate=0", "base.train.warmup=2")


@pytest.mark.parametrize("name", ["name", "seed", "device", "stages"])
def test_a_stage_cannot_take_a_key_s_name(load: Any, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        load(text=RECIPE + f"  {name}: {{kind: prepare, source: a}}\n")


def test_one_stage_from_the_command_line() -> None:
    recipe, where = one_stage(
        "finetune", ["model=a/b", "data=c.jsonl", "train.steps=3", "name=mine", "seed=7"]
    )
    assert recipe.name == "finetune"
    assert recipe.seed == 7
    assert list(recipe.stages) == ["mine"]
    assert recipe.stages["mine"].train.steps == 3
    assert where(("stages", "mine", "train", "steps")) == "command line: train.steps"


def test_one_stage_tells_its_own_keys() -> None:
    with pytest.raises(ConfigError, match=r"command line: train\.lerning_rate"):
        one_stage("finetune", ["model=a/b", "data=c", "train.lerning_rate=3"])
    with pytest.raises(ConfigError, match="no key stages"):
        one_stage("prepare", ["source=x", "stages.x=1"])


def test_every_field_is_documented() -> None:
    def walk(schema: dict[str, Any], place: str) -> None:
        for name, field in schema.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, f"{place}.{name} has no docstring"

    whole = Recipe.model_json_schema()
    walk(whole, "recipe")
    for name, part in whole["$defs"].items():
        walk(part, name)


def test_names_come_from_the_registries() -> None:
    definitions = Recipe.model_json_schema()["$defs"]
    assert definitions["ObjectiveSettings"]["properties"]["name"]["enum"] == list(OBJECTIVES)
    assert definitions["MethodSettings"]["properties"]["name"]["enum"] == list(METHODS)


def test_formats_are_those_that_data_reads() -> None:
    from hanji.data.formats import FILE_FORMATS, WHOLE_FORMATS
    from hanji.data.rows import ROW_FORMATS

    source = Recipe.model_json_schema()["$defs"]["Source"]["properties"]
    assert set(source["format"]["enum"]) == {"auto", *FILE_FORMATS, *WHOLE_FORMATS}
    assert set(source["rows"]["enum"]) == {"auto", *ROW_FORMATS}


def test_settings_do_not_change() -> None:
    stage = STAGES["prepare"].model_validate({"source": "x"})
    with pytest.raises(ValueError, match="frozen"):
        stage.limit = 3  # type: ignore[attr-defined]


def test_the_schema_needs_nothing_heavy() -> None:
    code = (
        "import sys, hanji, hanji.recipes.load, hanji.recipes.link, hanji.recipes.runner\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'datasets', 'tokenizers'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
