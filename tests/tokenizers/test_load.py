"""Existing tokenizers, from wherever they come."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hanji.contracts.errors import ModelError
from hanji.tokenizers import load
from hanji.tokenizers.tokenizer import Tokenizer

Make = Callable[..., Tokenizer]


def test_gguf(smollm2: Tokenizer) -> None:
    assert smollm2.vocabulary_size == 49152
    assert smollm2.eos_ids == [2] and smollm2.bos_id is None
    assert smollm2.pad_id not in smollm2.eos_ids and smollm2.pad_id < 49152
    assert "<|im_end|> also ends rows" in smollm2.notes[0]
    assert "SmolLM" in str(smollm2.chat_template)


def test_gguf_saved_loads_in_plain_transformers(smollm2: Tokenizer, tmp_path: Path) -> None:
    smollm2.save(tmp_path)
    plain, ours = AutoTokenizer.from_pretrained(tmp_path), Tokenizer.load(tmp_path)
    for text in ("Hello\n    12 <|im_end|> 한글", "it's 3.14\t\t!", "\x04"):
        assert plain(text).input_ids == smollm2.hf(text).input_ids == ours.hf(text).input_ids
    assert (ours.pad_id, ours.eos_ids, ours.notes) == (smollm2.pad_id, smollm2.eos_ids, ())
    chat = [{"role": "user", "content": "Hi"}]
    assert plain.apply_chat_template(chat, return_dict=False) == smollm2.encode_chat(chat).ids.tolist()


def test_stories(shared_data: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(shared_data / "models" / "stories260k")
    assert (tokenizer.eos_ids, tokenizer.pad_id) == ([2], 0)
    text = "Once upon a time </s> there was"
    ids = tokenizer.encode_texts([text])[0].tolist()
    assert 2 not in ids and tokenizer.decode(ids) == text
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).encode_texts([text])[0].tolist() == ids


def test_a_bare_tokenizer_json(make_trained: Make, tmp_path: Path) -> None:
    made = make_trained("bpe")
    made.hf.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.encode_texts(["한지 <s>"])[0].tolist() == made.encode_texts(["한지 <s>"])[0].tolist()
    assert loaded.eos_id is None and loaded.eos_ids == [] and loaded.chat_template is None


@pytest.mark.parametrize("source", ["/nowhere/at/all", "./nothing", "a/b/c", "nowhere.gguf"])
def test_a_path_without_a_tokenizer(source: str) -> None:
    with pytest.raises(ModelError, match="no such"):
        Tokenizer.load(source)


def test_an_empty_directory_or_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tokenizer could be loaded"):
        Tokenizer.load(tmp_path)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="not a readable GGUF file"):
        Tokenizer.load(broken)


def test_a_hub_id_that_cannot_be_reached() -> None:
    with pytest.raises(ModelError, match="no tokenizer could be loaded") as refused:
        Tokenizer.load("hanji-tests/there-is-no-such-tokenizer")
    assert refused.value.where == "hanji-tests/there-is-no-such-tokenizer"


def test_a_hub_id_goes_to_transformers(make_trained: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def from_pretrained(place: str, **options: object) -> PreTrainedTokenizerFast:
        asked.append((place, options))
        return make_trained("bpe").hf

    monkeypatch.setattr(load, "AutoTokenizer", SimpleNamespace(from_pretrained=from_pretrained))
    assert Tokenizer.load("someone/model").vocabulary_size == make_trained("bpe").vocabulary_size
    assert asked == [("someone/model", {"trust_remote_code": False})]


def test_a_tokenizer_in_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "AutoTokenizer", SimpleNamespace(from_pretrained=lambda *a, **k: object()))
    with pytest.raises(ModelError, match="written in Python"):
        Tokenizer.load("someone/model")


def test_an_unknown_way_of_cutting_text_is_refused(
    smollm2_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = load.read_gguf_metadata
    monkeypatch.setattr(
        load,
        "read_gguf_metadata",
        lambda *a: ({**read(*a)[0], "tokenizer.ggml.pre": "of-tomorrow"}, ()),
    )
    with pytest.raises(ModelError, match="not known here") as refused:
        Tokenizer.load(smollm2_gguf)
    assert "of-tomorrow" in str(refused.value)


def test_saving_writes_nothing_of_this_machine(make_trained: Make, tmp_path: Path) -> None:
    make_trained("bpe").save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert str(tmp_path.parent) not in json.dumps(
        json.loads((tmp_path / "tokenizer_config.json").read_text())
    )
