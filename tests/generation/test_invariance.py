"""Batch invariance: bits that do not depend on company, in activations and in whole answers."""

from __future__ import annotations

import pytest
import torch
from transformers.activations import ACT2FN

from generation.test_engine import drawn, prompts
from hanji.generation import Engine, Request, decoders
from hanji.generation.decoders import SlotDecoder
from hanji.generation.invariance import in_vectors
from tiny_models import Ids, tiny


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_new", "gelu_pytorch_tanh"])
@pytest.mark.parametrize("width", [1, 33, 100, 688, 704])
def test_an_activation_has_the_same_bits_in_any_company(name: str, width: int, threads: int) -> None:
    function = ACT2FN[name]
    read = torch.randn((520, width), generator=torch.Generator().manual_seed(0))
    expected = in_vectors(function, read[:9])
    for tokens in (1, 2, 5, 16, 31, 129, 333, 520):
        found = in_vectors(function, read[:tokens])
        assert torch.equal(found[:9], expected[:tokens])
        torch.testing.assert_close(found, function(read[:tokens]))


def test_without_it_an_activation_has_other_bits() -> None:
    """Else nothing of this would be needed any more."""
    read = torch.randn((40, 100), generator=torch.Generator().manual_seed(0))
    silu = torch.nn.functional.silu
    assert any(not torch.equal(silu(read)[:n], silu(read[:n])) for n in range(1, 40))


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "mistral"])
def test_prompts_and_answers_share_passes_and_no_bit_changes(family: str) -> None:
    asked = [
        Request(prompt=prompt * (1 + index % 3), sampling=drawn(index), max_new_tokens=20, logprobs=2)
        for index, prompt in enumerate(prompts(12))
    ]
    with Engine(tiny(family), Ids(2), slots=5, block=16, reading=40) as engine:
        assert isinstance(engine._decoder, SlotDecoder)
        mixes = engine._decoder.mixes
        together = engine.run(asked)
        backwards = engine.run(asked[::-1])[::-1]
        alone = [engine.run([request])[0] for request in asked]
    with Engine(tiny(family), Ids(2), slots=2, block=16) as engine:
        fewer = engine.run(asked)
    for answers in (backwards, alone, *([fewer] if mixes else [])):
        assert [answer.logprobs for answer in answers] == [answer.logprobs for answer in together]
    if not mixes:
        pytest.skip(
            "products by packed weights are not batch-invariant on this processor; passes are kept apart"
        )


def test_where_company_changes_bits_it_is_kept_apart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [Request(prompt=prompt, max_new_tokens=20, logprobs=0) for prompt in prompts(7)]
    with Engine(tiny("llama"), Ids(2), slots=3, block=16) as engine:
        expected = engine.run(asked)
    monkeypatch.setattr(decoders, "is_invariant", lambda model: False)
    with caplog.at_level("INFO"), Engine(tiny("llama"), Ids(2), slots=3, block=16) as engine:
        assert isinstance(engine._decoder, SlotDecoder) and not engine._decoder.mixes
        assert "prompts are read apart" in caplog.text
        found = engine.run(asked)
        alone = [engine.run([request])[0] for request in asked]
    assert [answer.ids for answer in found] == [answer.ids for answer in expected]
    assert [answer.logprobs for answer in found] == [answer.logprobs for answer in alone]


def test_unpacked_products_are_found_out() -> None:
    """MKL picks another kernel for another number of rows."""
    model = tiny("llama")
    with Engine(model, Ids(2), slots=2, packed_bytes=0) as engine:
        assert isinstance(engine._decoder, SlotDecoder)
        mixes = engine._decoder.mixes
        asked = [Request(prompt=prompt, max_new_tokens=12, logprobs=0) for prompt in prompts(5)]
        together = engine.run(asked)
        alone = [engine.run([request])[0] for request in asked]
    assert [a.logprobs for a in together] == [a.logprobs for a in alone], f"mixes: {mixes}"
