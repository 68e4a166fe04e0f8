"""The compiled kernel, held against PyTorch's attention; without Numba, PyTorch's is taken."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from generation.test_engine import prompts
from hanji.generation import Engine, Request, kernels
from tiny_models import Ids, tiny

PLACES = 70


@pytest.mark.parametrize(("heads", "sharing", "size"), [(4, 4, 8), (9, 3, 64), (8, 1, 16)])
def test_the_kernel_sees_what_attention_sees(heads: int, sharing: int, size: int) -> None:
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    generator = torch.Generator().manual_seed(0)
    key, value = torch.randn((2, 3, sharing, PLACES, size), generator=generator)
    query = 3 * torch.randn((1, heads, 5, size), generator=generator)
    found = torch.zeros((5, heads, size))
    places = [(0, 2, 0, 1), (1, 0, 0, PLACES), (3, 1, 7, 40), (4, 1, 39, 40)]
    kernels.attend(query, key, value, np.array(places, np.int64).T.copy(), 100, 0.2, found)
    for first, slot, begin, end in places:
        expected = F.scaled_dot_product_attention(
            query[:, :, first : first + 1],
            *(
                each[slot : slot + 1, :, begin:end].repeat_interleave(heads // sharing, 1)
                for each in (key, value)
            ),
            scale=0.2,
        )
        torch.testing.assert_close(found[first], expected[0, :, 0], rtol=2e-6, atol=2e-6)
    assert not found[2].any()


@pytest.mark.parametrize("damage", [float("nan"), float("inf"), 3e38])
@pytest.mark.parametrize("where", ["query", "key"])
def test_what_is_not_finite_stays_so(damage: float, where: str) -> None:
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    key, value, query = torch.ones((3, 2, 4, PLACES, 8)).unbind()
    query = query[:1, :, :1].clone()
    (query if where == "query" else key[0, :, 3:4])[..., 0, 0] = damage
    key[0, :, :, 0] *= 3
    found = torch.zeros((1, 4, 8))
    kernels.attend(query, key, value, np.array([[0], [0], [0], [9]]), 9, 1.0, found)
    assert not found.isfinite().any()


def test_without_numba_answers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Request(prompt=prompt, max_new_tokens=12) for prompt in prompts(4)]
    with Engine(tiny("mistral"), Ids(2), slots=3) as engine:
        expected = engine.run(asked)
    monkeypatch.setitem(sys.modules, "numba", None)
    kernels._numba.cache_clear()
    try:
        with Engine(tiny("mistral"), Ids(2), slots=3) as engine:
            found = engine.run(asked)
        assert kernels._numba() is None
    finally:
        kernels._numba.cache_clear()
    assert [answer.ids for answer in found] == [answer.ids for answer in expected]
