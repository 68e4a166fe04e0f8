"""Compiled steps: the answers of eager ones; whatever cannot be compiled goes on eagerly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hanji.contracts.errors import ConfigError
from hanji.generation import Engine, Request
from hanji.generation.decoders import SlotDecoder
from tiny_models import VOCABULARY, Ids, tiny


def requests() -> list[Request]:
    generator = torch.Generator().manual_seed(1)
    return [
        Request(prompt=torch.randint(3, VOCABULARY, (size,), generator=generator).tolist(), max_new_tokens=16)
        for size in (3, 70, 12, 58, 30)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("packed_bytes", [0, 2**30])
def test_compiled_answers_are_the_same_at_every_length(packed_bytes: int) -> None:
    """Rows cross the stride of 64 places, so that lengths change."""
    with Engine(tiny("llama"), Ids(), slots=3, prefix_bytes=0) as engine:
        expected = engine.run(requests())
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with Engine(tiny("llama"), Ids(), slots=3, packed_bytes=packed_bytes, compiled=True) as engine:
        assert isinstance(engine._decoder, SlotDecoder) and engine._decoder._compiled is not None
        found = engine.run(requests())
        compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        engine.run(requests())
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled <= 2
    assert [answer.ids for answer in found] == [answer.ids for answer in expected]


def test_a_compiler_that_fails_leaves_steps_as_they_were(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> object:
        def run(*_: object) -> object:
            raise RuntimeError("no C++ compiler")

        return run

    monkeypatch.setattr(torch, "compile", fails)
    with Engine(tiny("llama"), Ids(), slots=2, compiled=True) as engine:
        assert len(engine.run(requests()[:1])[0].ids) == 16
    assert "not compiled: RuntimeError: no C++ compiler" in caplog.text


def test_adapters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no adapters"):
        Engine(tiny("llama"), Ids(), slots=2, compiled=True, adapters={"a": tmp_path})
