"""Plain text: the ids of `tokenizers`, whoever makes them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanji.contracts.errors import DataError
from hanji.tokenizers import fast
from hanji.tokenizers.backend import plain_description, text_backend
from hanji.tokenizers.text import TextEncoder
from hanji.tokenizers.tokenizer import Tokenizer
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

Make = Callable[..., Tokenizer]
texts = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5)
properties = settings(
    deadline=None,
    max_examples=100,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def expected(tokenizer: Tokenizer, many: list[str]) -> list[list[int]]:
    backend = Backend.from_str(tokenizer.hf.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    return [backend.encode(text, add_special_tokens=False).ids for text in many]


@properties
@given(many=texts)
def test_ids_are_those_of_tokenizers(make_trained: Make, many: list[str]) -> None:
    tokenizer = make_trained("bpe")
    ids, lengths = tokenizer.encode_texts([*many, "a <|im_end|>"])
    right = expected(tokenizer, [*many, "a <|im_end|>"])
    assert ids.tolist() == list(chain.from_iterable(right)) and lengths.tolist() == [
        len(row) for row in right
    ]
    assert (ids.dtype, lengths.dtype) == (np.int32, np.int64)


def test_gigatoken_does_the_work_where_it_can(make_trained: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gigatoken")
    tokenizer = make_trained("bpe")
    quick = TextEncoder(tokenizer.hf.backend_tokenizer)
    assert quick.is_fast
    monkeypatch.setattr(fast, "find_spec", lambda name: None)
    slow = TextEncoder(tokenizer.hf.backend_tokenizer)
    assert not slow.is_fast
    many = ["한지 <|im_end|>", "", "paper " * 50, "\n\n \t"]
    for ours, theirs in zip(quick.encode(many), slow.encode(many), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_many_texts_are_encoded_at_once(make_trained: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one first, then all at once: the same ids, whichever way they are made."""
    gigatoken = pytest.importorskip("gigatoken")
    at_once: list[int] = []
    real = gigatoken.Tokenizer.encode_batch
    monkeypatch.setattr(
        gigatoken.Tokenizer,
        "encode_batch",
        lambda self, many: (at_once.append(len(many)), real(self, many))[1],
    )
    monkeypatch.setattr(fast, "_WORTH_AN_IMPORT", 20_000)
    encoder = TextEncoder(make_trained("bpe").hf.backend_tokenizer)
    many = ["한지 <|im_end|>", "", "paper " * 50, "\n\n \t"]
    rows = [encoder.encode(many * 2) for _ in range(4)]
    assert at_once[1:] == [8, 8], "the third call and the fourth, after a probe"
    right = expected(make_trained("bpe"), many * 2)
    for ids, lengths in rows:
        assert ids.tolist() == list(chain.from_iterable(right)) and ids.dtype == np.int32
        assert lengths.tolist() == [len(row) for row in right] and lengths.dtype == np.int64


def test_many_texts_are_not_encoded_at_once_where_that_disagrees(
    make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    gigatoken = pytest.importorskip("gigatoken")
    real = gigatoken.Tokenizer.encode_batch
    monkeypatch.setattr(gigatoken.Tokenizer, "encode_batch", lambda self, many: real(self, many[::-1]))
    monkeypatch.setattr(fast, "_WORTH_AN_IMPORT", 0)
    encoder = TextEncoder(make_trained("bpe").hf.backend_tokenizer)
    assert encoder.encode(["b", "a"])[0].tolist() == [
        *chain.from_iterable(expected(make_trained("bpe"), ["b", "a"]))
    ]


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece"])
def test_a_copy_that_shares_the_model_is_the_same_tokenizer(make_trained: Make, algorithm: str) -> None:
    backend = Backend.from_str(make_trained(algorithm, 900).hf.backend_tokenizer.to_str())
    backend.add_tokens(["zebra", AddedToken("stripe", normalized=True, single_word=True)])
    assert json.loads(text_backend(backend).to_str()) == plain_description(backend)


def test_gigatoken_is_not_used_where_it_disagrees(
    make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    gigatoken = pytest.importorskip("gigatoken")

    class Wrong:
        def __init__(self, right: object) -> None:
            self._right = right

        def encode(self, text: str) -> object:
            return self._right.encode(text.replace("ㅋ", ""))  # type: ignore[attr-defined]

    right = gigatoken.Tokenizer.from_json
    monkeypatch.setattr(gigatoken.Tokenizer, "from_json", lambda text: Wrong(right(text)))
    encoder = TextEncoder(make_trained("bpe").hf.backend_tokenizer)
    assert not encoder.is_fast
    assert encoder.encode(["ㅋㅋ"])[0].tolist() == expected(make_trained("bpe"), ["ㅋㅋ"])[0]


def test_threads_get_the_same_ids(make_trained: Make, corpus: list[str]) -> None:
    tokenizer = make_trained("bpe")
    jobs = [[text[index:] for text in corpus] for index in range(40)]
    alone = [tokenizer.encode_texts(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(tokenizer.encode_texts, jobs))
    for one, other in zip(alone, together, strict=True):
        assert one[0].tolist() == other[0].tolist() and one[1].tolist() == other[1].tolist()


@pytest.mark.parametrize("algorithm", ["bpe", "unigram", "wordpiece"])
def test_no_texts_and_empty_texts(make_trained: Make, algorithm: str) -> None:
    tokenizer = make_trained(algorithm, 900)
    for many in ([], [""], ["", "a", ""]):
        ids, lengths = tokenizer.encode_texts(many)
        assert len(lengths) == len(many) and lengths.sum() == len(ids)
        assert (ids.dtype, lengths.dtype) == (np.int32, np.int64)


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
@pytest.mark.parametrize(("bad", "reason"), [("\ud800x", "half of a surrogate"), (7, "must be a string")])
def test_what_is_no_text_is_named(make_trained: Make, algorithm: str, bad: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as refused:
        make_trained(algorithm, 900).encode_texts(["fine", bad])  # type: ignore[list-item]
    assert "text 1" in str(refused.value.where)


def test_a_foreign_unigram_does_not_find_its_special_tokens_in_a_text() -> None:
    """Special tokens of XLM-R and the like are pieces of the model, and probable ones."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((letter, -5.0) for letter in "▁</s>abun k")]
    backend = Backend(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    backend.add_special_tokens(["</s>", "<unk>"])
    encoder = TextEncoder(backend)
    ids = encoder.encode(["a</s>b", "<unk>"])[0].tolist()
    assert [pieces[index][0] for index in ids] == [*"a</s>b", *"<unk>"]


def test_smollm2_ids(smollm2: Tokenizer) -> None:
    """Known ids of the original tokenizer, which takes digits one by one, and spaces before them as one."""
    known = {
        "Hello world! 123": [19556, 905, 17, 216, 33, 34, 35],
        "  multiple   spaces": [216, 2701, 256, 5600],
        "Café déjà vu.": [51, 1939, 2756, 32564, 90, 16739, 386, 101, 30],
    }
    for text, ids in known.items():
        assert smollm2.encode_texts([text])[0].tolist() == ids
    spaces, *digits = smollm2.encode_texts(["    12"])[0].tolist()
    assert smollm2.decode([spaces]) == "    " and len(digits) == 2


def test_real_text(shared_data: Path, make_trained: Make) -> None:
    with gzip.open(shared_data / "pretrain-ko" / "prompt-guide-ko.txt.gz", "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    tokenizer = make_trained("bpe")
    ids, lengths = tokenizer.encode_texts(lines)
    assert ids.tolist() == list(chain.from_iterable(expected(tokenizer, lines)))
    assert lengths.sum() == len(ids)
