"""The garbage collector rests while a tokenizer is loaded, and only then."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from hanji.tokenizers import tokenizer as module
from hanji.tokenizers.collector import collector_at_rest
from hanji.tokenizers.tokenizer import Tokenizer


def test_it_rests_while_a_tokenizer_is_loaded(
    make_trained: Callable[..., Tokenizer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trained("bpe").save(tmp_path)
    rested: list[bool] = []
    load_hf = module.load_hf
    monkeypatch.setattr(
        module, "load_hf", lambda source: (rested.append(not gc.isenabled()), load_hf(source))[1]
    )
    Tokenizer.load(tmp_path)
    assert rested == [True]
    assert gc.isenabled()


def test_it_works_again_after_an_error() -> None:
    with pytest.raises(KeyError), collector_at_rest():
        raise KeyError
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_so() -> None:
    gc.disable()
    try:
        with collector_at_rest():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
