"""What every engine is held to, by the official client: the answers of ours, or a refusal by name."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import BadRequestError, OpenAI
from peft import LoraConfig, PromptTuningConfig, get_peft_model

from hanji.contracts.errors import ConfigError, ModelError
from hanji.export.exporting import export
from hanji.serving import runner
from hanji.serving.engines import ENGINES
from hanji.serving.engines.engine import Setup, Source
from hanji.serving.engines.writing import marked
from hanji.serving.models import Models, Settings
from hanji.serving.service import Service
from serving.running import KNOWN, Running, Trained

PACKAGES = {"hanji": "torch", "vllm": "vllm", "llama.cpp": "xllamacpp"}
OPTIONS: dict[str, dict[str, Any]] = {
    "hanji": {}, "vllm": {},
    "llama.cpp": {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attention": False},
}  # fmt: skip
SLOTS = 2
PAPER = "What is hanji?"
SCHEMA = {
    "type": "object", "properties": {"word": {"enum": ["one", "two"]}, "yes": {"type": "boolean"}},
    "required": ["word", "yes"], "additionalProperties": False,
}  # fmt: skip
LONG = {"ignore_eos": True, "max_tokens": 300}


@pytest.fixture(scope="session")
def places(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model as each engine reads it."""
    folder = tmp_path_factory.mktemp("engines")
    whole = folder / "tiny"
    trained.model.save_pretrained(whole)
    trained.tokenizer.save(whole)
    file = folder / "tiny.gguf"
    if importlib.util.find_spec("xllamacpp") is not None:
        export(str(whole), "gguf", file)
    return {"hanji": whole, "vllm": whole, "llama.cpp": file}


@pytest.fixture(scope="session", params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed here")
    return name


def setup(engine: str, **options: Any) -> Setup:
    return Setup(
        Settings(slots=SLOTS, context=512, cache_bytes=2**28), 3, None, {**OPTIONS[engine], **options}
    )


@pytest.fixture(scope="session")
def service(engine: str, places: dict[str, Path], serve: Callable[[Service], Running]) -> Running:
    begin = ENGINES.load(engine)(Source("tiny", str(places[engine]), "test/tiny/0000"), {}, setup(engine))
    return serve(Service(Models(begin)))


@pytest.fixture
def asked(service: Running) -> OpenAI:
    return service.client()


def chat(client: OpenAI, question: str = PAPER, **fields: Any) -> Any:
    own = {name: fields.pop(name) for name in ("top_k", "ignore_eos", "stop_token_ids") if name in fields}
    own |= {name: fields.pop(name) for name in ("min_p", "repetition_penalty") if name in fields}
    settings: dict[str, Any] = {"temperature": 0, "extra_body": own, **fields}
    return client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": question}], **settings
    )


def text(client: OpenAI, question: str = PAPER, **fields: Any) -> str:
    found: str = chat(client, question, **fields).choices[0].message.content
    return found


@pytest.mark.parametrize("question", [PAPER, "Count."])
def test_answers_are_those_of_our_engine(asked: OpenAI, client: OpenAI, question: str) -> None:
    found, ours = chat(asked, question), chat(client, question)
    assert found.choices[0].message.content == ours.choices[0].message.content == KNOWN[question]
    assert found.choices[0].finish_reason == "stop"
    assert found.usage.completion_tokens == ours.usage.completion_tokens
    assert found.usage.prompt_tokens == ours.usage.prompt_tokens


def test_an_answer_comes_piece_by_piece(asked: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LONGEST_HELD", 0.0)
    chunks = [chunk.choices[0] for chunk in chat(asked, stream=True)]
    pieces = [chunk.delta.content for chunk in chunks if chunk.delta.content]
    assert "".join(pieces) == KNOWN[PAPER]
    assert len(pieces) > 8
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
    assert chunks[-1].finish_reason == "stop"


def test_token_ids_go_in_as_they_are(asked: OpenAI, client: OpenAI, trained: Trained) -> None:
    ids = trained.tokenizer.encode_chat([{"role": "user", "content": PAPER}], add_generation_prompt=True)
    settings: dict[str, Any] = {"model": "tiny", "prompt": ids.ids.tolist(), "temperature": 0}
    for fields in ({"max_tokens": 9}, {"max_tokens": 7, "echo": True}):
        found = asked.completions.create(**settings, **fields)
        ours = client.completions.create(**settings, **fields)
        assert found.choices[0].text == ours.choices[0].text
        assert found.choices[0].finish_reason == ours.choices[0].finish_reason == "length"
        assert found.usage.completion_tokens == fields["max_tokens"]


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": "by hand"}, {"stop": ["닥나무", "nothing"]}, {"max_tokens": 8}, {"max_tokens": 1},
        {"temperature": 1, "top_k": 1}, {"temperature": 1, "top_p": 0.0001}, {"temperature": 1, "min_p": 1},
        {"repetition_penalty": 1.3, "max_tokens": 12},
    ],
    ids=str,
)  # fmt: skip
def test_how_answers_are_drawn_and_end(asked: OpenAI, client: OpenAI, fields: dict[str, Any]) -> None:
    found, ours = chat(asked, **fields).choices[0], chat(client, **fields).choices[0]
    assert found.message.content == ours.message.content
    assert found.finish_reason == ours.finish_reason


def test_tokens_that_end_an_answer_and_those_that_are_wanted(asked: OpenAI, trained: Trained) -> None:
    ids = trained.tokenizer.encode_texts([KNOWN[PAPER]])[0].tolist()
    told = chat(asked, stop_token_ids=[ids[3]])
    assert told.choices[0].message.content == trained.tokenizer.decode(ids[:3])
    assert told.choices[0].finish_reason == "stop"
    wanted = trained.tokenizer.encode_texts(["seven"])[0].tolist()[0]
    assert text(asked, logit_bias={str(wanted): 100}, max_tokens=2) == trained.tokenizer.decode([wanted]) * 2


def test_an_answer_goes_on_where_it_would_end(asked: OpenAI) -> None:
    told = chat(asked, ignore_eos=True, max_tokens=40)
    assert told.usage.completion_tokens == 40
    assert told.choices[0].finish_reason == "length"
    assert told.choices[0].message.content.startswith(KNOWN[PAPER])


def test_choices_are_drawn_by_the_seed(asked: OpenAI) -> None:
    def draw(seed: int) -> list[str]:
        told = chat(asked, "Tell me.", temperature=2, n=3, seed=seed, max_tokens=12)
        return [choice.message.content for choice in told.choices]

    first = draw(3)
    assert len(set(first)) == 3
    assert draw(3) == first
    assert draw(4) != first


def test_an_answer_keeps_to_a_schema(asked: OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "word", "schema": SCHEMA}}
    for _ in range(2):
        told = chat(asked, "Count.", response_format=form, temperature=1, max_tokens=100)
        said = json.loads(told.choices[0].message.content)
        assert said["word"] in ("one", "two")
        assert isinstance(said["yes"], bool)
        assert told.choices[0].finish_reason == "stop"


def test_a_schema_that_nobody_can_keep_to(asked: OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/nowhere"}}}
    with pytest.raises(BadRequestError) as refused:
        chat(asked, response_format=form)
    assert refused.value.param == "response_format.json_schema.schema"
    assert text(asked, "Count.") == KNOWN["Count."]


FORMS: list[tuple[dict[str, Any], str]] = [
    ({"json": SCHEMA}, r'\{"word": ?"(one|two)", ?"yes": ?(true|false)\}'),
    ({"regex": r"a/b [0-9]{2,4}\.[a-z]"}, r"a/b [0-9]{2,4}\.[a-z]"),
    ({"choice": ["예", "아니오", 'say "no"', "\\/"]}, r'예|아니오|say "no"|\\/'),
    ({"grammar": 'start: "<" WORD ">" | "(" start ")"\nWORD: /[a-c]{2,3}/'}, r"\(*<[a-c]{2,3}>\)*"),
    ({"grammar": '?start: "one" | "two"'}, "one|two"),
    ({"grammar": 'root ::= ("one" | two) [0-9]\ntwo ::= "two"'}, "(one|two)[0-9]"),
]


@pytest.mark.parametrize(("form", "pattern"), FORMS, ids=str)
def test_an_answer_keeps_to_a_form(asked: OpenAI, form: dict[str, Any], pattern: str) -> None:
    settings: dict[str, Any] = {
        "model": "tiny",
        "max_tokens": 100,
        "extra_body": {"structured_outputs": form},
    }
    messages: Any = [{"role": "user", "content": "Count."}]
    told = asked.chat.completions.create(messages=messages, **settings).choices[0]
    assert told.finish_reason == "stop"
    assert re.fullmatch(pattern, told.message.content or ""), told.message.content
    written = asked.completions.create(prompt="Paper", n=2, **settings).choices
    for choice in written:
        assert choice.finish_reason == "stop"
        assert re.fullmatch(pattern, choice.text), choice.text


@pytest.mark.parametrize("lark", ['?start: "one"', '\n%llguidance {}\nstart: "one"', "start: /root ::= x/"])
def test_a_grammar_is_taken_for_what_it_is(lark: str) -> None:
    """As vLLM finds out: anything else would be read as GBNF."""
    guidance = pytest.importorskip("llguidance")
    assert guidance.grammar_from("grammar", marked(lark)) == guidance.grammar_from("lark", marked(lark))
    assert not guidance.LLMatcher.validate_grammar(guidance.grammar_from("grammar", marked(lark)))


@pytest.mark.parametrize(
    ("name", "form"),
    [("regex", "("), ("grammar", "start: a"), ("grammar", "start: start"), ("json", {"type": "x"})],
)
def test_a_form_that_nobody_can_keep_to(asked: OpenAI, name: str, form: Any) -> None:
    with pytest.raises(BadRequestError) as refused:
        asked.completions.create(
            model="tiny", prompt="Paper", extra_body={"structured_outputs": {name: form}}
        )
    assert refused.value.param == f"structured_outputs.{name}"
    assert text(asked, "Count.") == KNOWN["Count."]


HONOURED: dict[str, set[str]] = {"hanji": {"all"}, "vllm": {"all"}, "llama.cpp": set()}
SOME: list[tuple[str, dict[str, Any]]] = [
    ("logprobs", {"logprobs": True, "top_logprobs": 2}), ("presence_penalty", {"presence_penalty": 0.5}),
    ("frequency_penalty", {"frequency_penalty": -0.5}),
    ("logit_bias", {"logit_bias": {"7": 1}, "repetition_penalty": 1.1}),
]  # fmt: skip


@pytest.mark.parametrize(("param", "fields"), SOME, ids=[param for param, _ in SOME])
def test_honoured_or_refused(
    asked: OpenAI, client: OpenAI, engine: str, param: str, fields: dict[str, Any]
) -> None:
    if "all" in HONOURED[engine]:
        assert text(asked, **fields) == text(client, **fields)
        return
    for stream in (False, True):
        with pytest.raises(BadRequestError, match=engine) as refused:
            chat(asked, stream=stream, **fields)
        assert refused.value.param == param
        assert refused.value.code == "unsupported_parameter"


def test_probabilities_are_the_models_own(asked: OpenAI, client: OpenAI, engine: str) -> None:
    if engine == "llama.cpp":
        pytest.skip("refused, see test_honoured_or_refused")
    settings: dict[str, Any] = {
        "model": "tiny", "prompt": "Paper made by", "max_tokens": 4, "temperature": 0, "logprobs": 3,
        "echo": True,
    }  # fmt: skip
    found = asked.completions.create(**settings).choices[0].logprobs
    ours = client.completions.create(**settings).choices[0].logprobs
    assert found.tokens == ours.tokens
    assert found.token_logprobs[1:] == pytest.approx(ours.token_logprobs[1:], abs=1e-3)
    for mine, theirs in zip(found.top_logprobs[1:], ours.top_logprobs[1:], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)


def busy(service: Running) -> tuple[int, int]:
    load = service.backend().load()
    return load.running, load.waiting


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_whom_nobody_waits_for_is_given_up(service: Running, asked: OpenAI) -> None:
    streams = [chat(asked, stream=True, **LONG) for _ in range(4)]
    for stream in streams[:2]:
        next(iter(stream))
    for stream in streams:
        stream.close()
    until(lambda: busy(service) == (0, 0))
    assert text(asked) == KNOWN[PAPER]


def test_models_say_who_computes_them_and_do_no_more(asked: OpenAI, engine: str) -> None:
    (model,) = asked.models.list()
    assert model.engine == engine  # type: ignore[attr-defined]
    assert model.context == 512  # type: ignore[attr-defined]
    if engine != "hanji":
        with pytest.raises(BadRequestError, match="another engine"):
            asked.embeddings.create(model="tiny", input="one")


def test_a_prompt_that_is_too_long(asked: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refused:
        asked.completions.create(model="tiny", prompt=[[5] * 512])
    assert refused.value.code == "context_length_exceeded"
    told = asked.completions.create(
        model="tiny", prompt=[[5] * 500], max_tokens=40, temperature=0, extra_body={"ignore_eos": True}
    )
    assert told.usage is not None
    assert told.usage.completion_tokens <= 12
    assert told.choices[0].finish_reason == "length"


def test_options_that_no_engine_has(engine: str, places: dict[str, Path]) -> None:
    starts, source = ENGINES.load(engine), Source("tiny", str(places[engine]), "tiny")
    with pytest.raises(ConfigError) as refused:
        starts(source, {}, setup(engine, n_thread=3))
    assert refused.value.where == "--engine-option"
    if engine != "hanji":
        with pytest.raises(ConfigError) as refused:
            starts(source, {}, setup(engine, model="other"))
        assert refused.value.expected == "NAME"


def test_what_another_engine_does_not_read(engine: str, places: dict[str, Path]) -> None:
    if engine == "hanji":
        pytest.skip("it reads both")
    wrong = places["llama.cpp" if engine == "vllm" else "vllm"]
    with pytest.raises(ModelError) as refused:
        ENGINES.load(engine)(Source("demo/chat", str(wrong), "x"), {}, setup(engine))
    expected = "--engine llama.cpp" if engine == "vllm" else "hanji export demo/chat --to gguf"
    assert expected in str(refused.value.hint)


@pytest.fixture(scope="session")
def adapters(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    """A LoRA that makes the model say something else, and a soft prompt."""
    folder = tmp_path_factory.mktemp("adapters")
    kinds: dict[str, Any] = {
        "lora": LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
        "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    }
    for name, config in kinds.items():
        model = get_peft_model(deepcopy(trained.model), config)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
        model.save_pretrained(folder / name)
        trained.tokenizer.save(folder / name)
    return {name: Source(name, str(folder / name), f"test/{name}/0000") for name in kinds}


def test_a_lora_beside_its_base(
    engine: str, places: dict[str, Path], adapters: dict[str, Source], serve: Callable[[Service], Running]
) -> None:
    lora = {"lora": adapters["lora"]}

    def service(kind: str) -> OpenAI:
        begin = ENGINES.load(kind)(Source("tiny", str(places[kind]), "x"), lora, setup(kind))
        return serve(Service(Models(begin))).client()

    if engine == "llama.cpp":
        with pytest.raises(ModelError, match="gguf"):
            service(engine)
        return
    settings: dict[str, Any] = {"prompt": "What is hanji?", "max_tokens": 12, "temperature": 0}
    found, ours = service(engine), service("hanji")
    said = {
        name: found.completions.create(model=name, **settings).choices[0].text for name in ("tiny", "lora")
    }
    assert said["tiny"] != said["lora"]
    for name, text in said.items():
        assert text == ours.completions.create(model=name, **settings).choices[0].text
    assert [model.id for model in found.models.list()] == ["tiny", "lora"]


def test_adapters_that_another_engine_has_not(
    engine: str, places: dict[str, Path], adapters: dict[str, Source]
) -> None:
    starts = ENGINES.load(engine)
    if engine == "hanji":
        pytest.skip("it has them all")
    with pytest.raises(ModelError) as refused:
        starts(Source("tiny", str(places[engine]), "x"), {"prompt": adapters["prompt"]}, setup(engine))
    assert refused.value.where == "prompt"
    with pytest.raises(ModelError, match="--to"):
        starts(adapters["lora"], {}, setup(engine))
