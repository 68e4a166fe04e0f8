"""Kernels of Numba, held against PyTorch; without Numba, PyTorch's functions are taken."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, Ministral3Config, Ministral3ForCausalLM
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from generation.test_engine import prompts
from hanji.generation import Engine, Request, kernels
from hanji.generation.kernels.blocks import Block, FusedBlocks
from hanji.generation.kernels.layers import FusedLayers
from hanji.generation.packed import PackedLinears
from hanji.generation.slots import Step, at
from tiny_models import FAMILIES, Ids, tiny

PLACES = 70
needs_numba = pytest.mark.skipif(
    not kernels.usable(torch.ones(1)), reason="the extra `fast` is not installed"
)


@pytest.fixture(autouse=True)
def compiles() -> None:
    if not kernels.usable(torch.ones(1)):
        pytest.skip("Numba compiles nothing here: the extra `fast` or its libgomp is not installed")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def multiplied(read: Tensor, packed: Any, bias: Any, out: int) -> Tensor:
    """[1, rows, in] → [1, rows, out]"""
    return torch.from_numpy(kernels.multiply(read[0].numpy(), packed, bias, out))[None]


@pytest.mark.parametrize("out", [1, 31, 32, 100, 704])
@pytest.mark.parametrize("into", [1, 17, 300])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_product_is_that_of_pytorch(out: int, into: int, has_bias: bool, threads: int) -> None:
    weights, bias = drawn(out, into), drawn(out, seed=1) if has_bias else None
    packed, columns = kernels.pack(weights, bias)
    for rows in (1, 2, 13, 14, 15, 29, 100):
        read = drawn(1, rows, into, seed=2)
        found = multiplied(read, packed, columns, out)
        torch.testing.assert_close(found, F.linear(read, weights, bias), rtol=1e-5, atol=1e-5)


def test_bits_of_a_row_are_the_same_in_any_company(threads: int) -> None:
    packed, columns = kernels.pack(drawn(704, 300), drawn(704, seed=1))
    read, ups, weight = drawn(1, 333, 300), drawn(1, 333, 300, seed=3), drawn(300, seed=4)
    for function in (
        lambda rows: multiplied(rows, packed, columns, 704),
        lambda rows: kernels.rms_norm(rows, weight, 1e-6),
        lambda rows: kernels.gate(rows, ups[:, : rows.shape[1]], 1.0, 0.0),
    ):
        whole = function(read)
        for rows in (1, 2, 5, 14, 16, 31, 129):
            assert torch.equal(function(read[:, :rows]), whole[:, :rows])


@pytest.mark.parametrize("width", [1, 33, 576])
def test_norms_and_gates_are_those_of_pytorch(width: int) -> None:
    read, weight = 5 * drawn(1, 9, width), drawn(width, seed=1)
    found = kernels.rms_norm(read, weight, 1e-6)
    torch.testing.assert_close(found, F.rms_norm(read, (width,), weight, 1e-6))
    both = 9 * drawn(1, 9, 2 * width, seed=2)  # gates and ups in one product
    gates, ups = both.split(width, -1)
    for expected, linear, cubic in (
        (F.silu(gates) * ups, 1.0, 0.0),
        (F.gelu(gates, approximate="tanh") * ups, 1.5957691, 0.044715),
    ):
        torch.testing.assert_close(kernels.gate(gates, ups, linear, cubic), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("damage", [float("nan"), float("inf"), -float("inf")])
def test_norms_gates_and_products_keep_what_is_not_finite(damage: float) -> None:
    read, ones = torch.ones((1, 2, 40)), torch.ones((1, 2, 40))
    read[0, 1, 3] = damage
    product = multiplied(read, *kernels.pack(torch.ones((5, 40)), None), 5)
    norm, gate = kernels.rms_norm(read, ones[0, 0], 1e-6), kernels.gate(ones, read, 1.0, 0.0)
    for found in (product, norm, gate):
        assert found[0, 0].isfinite().all()
        assert not found[0, 1].isfinite().all()
    assert not kernels.gate(read, ones, 1.0, 0.0)[0, 1].isfinite().all() or damage < 0


def test_rotary_embeddings_are_those_of_transformers() -> None:
    angles = 3 * drawn(1, 5, 8).repeat(1, 1, 2)
    product = drawn(1, 5, 96, seed=1)  # four heads of queries and two of keys in one product
    query, key = (part.unflatten(-1, (-1, 16)).transpose(1, 2) for part in product.split((64, 32), -1))
    expected = apply_rotary_pos_emb(query, key, angles.cos(), angles.sin())
    for given in ((query, key), (query.contiguous(), key.contiguous())):
        torch.testing.assert_close(kernels.rotate(*given, angles.cos(), angles.sin()), expected)


def test_keys_and_values_are_kept_where_they_belong() -> None:
    keys, values = drawn(1, 2, 3, 8), drawn(1, 2, 3, 4, seed=1)
    kept_keys, kept_values = torch.zeros((4, 2, 9, 8)), torch.zeros((4, 2, 9, 4))
    slots, places = np.array([2, 0, 2]), np.array([7, 1, 8])
    kernels.keep(keys, values, slots, places, kept_keys, kept_values)
    for kept, states in ((kept_keys, keys), (kept_values, values)):
        expected = torch.zeros_like(kept)
        expected[slots, :, places] = states[0].transpose(0, 1)
        assert torch.equal(kept, expected)


def test_adapters_add_to_their_own_rows_and_layers(threads: int) -> None:
    """Of a group of two layers, one adapter has a part at both, one at the second."""
    read, found, begins = drawn(70, 300), drawn(70, 50, seed=1), np.array([0, 12, 50])
    down, up, ranks = drawn(3, 2, 8, 300, seed=2), drawn(3, 8, 50, seed=3), np.array([[8, 4], [0, 0], [0, 4]])
    tokens, numbers = np.array([3, 69, *range(10, 40), 0]), np.array([0, 0, *[2] * 30, 2])
    expected = found.clone()
    for token, number in zip(tokens, numbers, strict=True):
        for layer, rank in enumerate(ranks[number]):
            columns = slice(begins[layer], begins[layer + 1])
            hidden = down[number, layer, :rank] @ read[token]
            expected[token, columns] += hidden @ up[number, :rank, columns]
    given = (tokens, numbers, ranks, down.numpy(), up.numpy(), begins)
    kernels.add_low_rank(read.numpy(), found.numpy(), *given)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "norms", "gates"),
    [("llama", 5, 2), ("qwen3", 9, 2), ("gpt2", 0, 0), ("granite", 5, 2), ("gemma2", 0, 2), ("cohere", 0, 2)],
)
def test_layers_are_taken_by_what_they_give(family: str, norms: int, gates: int) -> None:
    """Norms of Gemma add one to their weights; Cohere's take the mean away."""
    model = tiny(family)
    fused = FusedLayers(model)
    with fused.lent():
        changed = [type(module).__name__ for module in model.modules() if "forward" in vars(module)]
    assert (sum("Norm" in name for name in changed), sum("MLP" in name for name in changed)) == (norms, gates)
    assert len(fused.pairs) == gates + (0 if family in ("gpt2", "cohere") else 4)
    assert not any("forward" in vars(module) for module in model.modules())


def test_rotary_embeddings_of_a_kind_are_changed_while_an_engine_of_it_is_open() -> None:
    first, second = Engine(tiny("llama"), Ids(2), slots=2), Engine(tiny("llama"), Ids(2), slots=2)
    own = modeling_llama.__dict__["apply_rotary_pos_emb"]
    assert own is not apply_rotary_pos_emb
    for engine in (first, second):
        assert modeling_llama.__dict__["apply_rotary_pos_emb"] is own
        engine.__exit__(None, None, None)
    assert modeling_llama.__dict__["apply_rotary_pos_emb"] is apply_rotary_pos_emb


def test_a_norm_with_something_more_is_left_alone() -> None:
    model = tiny("llama")

    class HalvedRMSNorm(type(model.model.norm)):  # type: ignore[misc]
        def forward(self, read: Tensor) -> Tensor:
            halved: Tensor = super().forward(read) / 2
            return halved

    model.model.norm.__class__ = HalvedRMSNorm
    with FusedLayers(model).lent():
        assert "forward" not in vars(model.model.norm)
        assert "forward" in vars(model.model.layers[0].input_layernorm)


def test_a_layer_that_is_asked_for_more_gives_it() -> None:
    """As gated norms are, by those of their sequences, and experts by rows."""
    model = tiny("llama")

    class GatedRMSNorm(type(model.model.norm)):  # type: ignore[misc]
        def forward(self, read: Tensor, gate: Tensor | None = None) -> Tensor:
            normal: Tensor = super().forward(read)
            return normal if gate is None else normal * gate

    class NeedsGateRMSNorm(type(model.model.norm)):  # type: ignore[misc]
        def forward(self, read: Tensor, gate: Tensor) -> Tensor:
            normal: Tensor = super().forward(read)
            return normal * gate

    other = model.model.layers[1].input_layernorm
    other.__class__ = NeedsGateRMSNorm
    norm, mlp = model.model.norm, model.model.layers[0].mlp
    norm.__class__ = GatedRMSNorm
    read = drawn(1, 4, 32)
    step = Step(torch.zeros(1, 4), torch.zeros(4), torch.zeros(4), 4, ())
    with torch.inference_mode(), FusedLayers(model).lent(), at(step):
        assert {"forward"} <= set(vars(norm)) & set(vars(mlp))
        assert "forward" not in vars(other), "it cannot be tried"
        torch.testing.assert_close(norm(read, 2 * read), norm(read) * 2 * read)
        torch.testing.assert_close(norm(read, gate=read), norm(read) * read)
        torch.testing.assert_close(mlp(read[0, :1]), mlp(read)[0, :1])


def blocks_of(model: Any) -> int:
    fused = FusedLayers(model)
    packed = PackedLinears(model, 2**30, wide=fused.pairs)
    with fused.lent(), packed.lent():
        blocks = FusedBlocks(model, fused, packed)
        with blocks.lent():
            changed = [layer for layer in model.modules() if type(layer).__name__.endswith("DecoderLayer")]
            assert sum("forward" in vars(layer) for layer in changed) == len(blocks)
    assert not any("forward" in vars(module) for module in model.modules())
    return len(blocks)


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_layers_are_taken_where_they_are_llamas(family: str) -> None:
    """Others multiply what they add, norm it, gate it by other functions, or have experts."""
    model = tiny(family)
    assert blocks_of(model) == (2 if family in ("llama", "mistral", "qwen3", "granite") else 0)
    if family == "qwen3":
        wide = {**FAMILIES["qwen3"], "num_attention_heads": 16, "num_key_value_heads": 8}
        config = AutoConfig.for_model("qwen3", **wide, vocab_size=211)
        assert blocks_of(AutoModelForCausalLM.from_config(config).eval()) == 2, "as in Qwen3-0.6B"
    if family == "granite":
        model.model.layers[0].residual_multiplier = 0.5
        assert blocks_of(model) == 1


def test_a_layer_that_looks_like_llamas_is_tried() -> None:
    model = tiny("llama")
    attention = model.model.layers[1].self_attn

    class Halved(type(model.model.layers[0])):  # type: ignore[misc]
        def forward(self, hidden_states: Tensor, **named: Any) -> Tensor:
            halved: Tensor = super().forward(hidden_states, **named) / 2
            return halved

    class Scaled(type(attention)):  # type: ignore[misc]
        def forward(self, **named: Any) -> Any:
            seen, weights = super().forward(**named)
            return 2 * seen, weights

    model.model.layers[0].__class__ = Halved
    assert blocks_of(model) == 1
    attention.scaling *= 1.5
    assert blocks_of(model) == 1, "the block reads it as well"
    attention.__class__ = Scaled
    assert blocks_of(model) == 0


def test_a_layer_that_scales_queries_far_from_the_beginning_is_left_alone() -> None:
    shape = {name: value for name, value in FAMILIES["llama"].items() if name != "max_position_embeddings"}
    rope = {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64,
        "llama_4_scaling_beta": 0.5,
    }  # fmt: skip
    config = Ministral3Config(
        **shape, vocab_size=211, head_dim=8, max_position_embeddings=256, rope_parameters=rope
    )
    assert blocks_of(Ministral3ForCausalLM(config).eval()) == 0


@pytest.mark.parametrize("changes", ["a module", "a hook"])
def test_what_is_put_into_a_layer_while_an_engine_is_open_is_seen(changes: str) -> None:
    model = tiny("llama")
    asked = [Request(prompt=prompt, max_new_tokens=12, logprobs=1) for prompt in prompts(2)]
    with Engine(model, Ids(2), slots=2) as engine:
        before = [one.logprobs for one in engine.run(asked)]
        mlp = model.model.layers[1].mlp
        if changes == "a hook":
            mlp.down_proj.register_forward_hook(lambda _, __, output: 2 * output)
        else:
            twice = torch.nn.Linear(64, 32, bias=False)
            twice.weight.data = 2 * mlp.down_proj.weight.data
            mlp.down_proj = twice
        after = [one.logprobs for one in engine.run(asked)]
    with Engine(model, Ids(2), slots=2) as engine:
        expected = [one.logprobs for one in engine.run(asked)]
    assert before != after
    for one, other in zip(after, expected, strict=True):
        assert [token.token for token in one] == [token.token for token in other]
        np.testing.assert_allclose(
            [token.logprob for token in one], [token.logprob for token in other], atol=1e-5
        )


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "granite"])
@pytest.mark.parametrize("slots", [1, 3])
def test_whole_layers_have_the_bits_of_their_modules(
    family: str, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [Request(prompt=prompt, max_new_tokens=12, logprobs=3) for prompt in prompts(4)]

    def answers() -> list[Any]:
        with Engine(tiny(family), Ids(2), slots=slots, block=8, reading=16) as engine:
            return [(one.ids, one.logprobs) for one in engine.run(asked)]

    found = answers()
    monkeypatch.setattr(Block, "takes", lambda *_: False)
    assert found == answers()


@pytest.mark.parametrize(("heads", "sharing", "size"), [(4, 4, 8), (9, 3, 64), (8, 1, 16)])
def test_the_kernel_sees_what_attention_sees(heads: int, sharing: int, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    key, value = torch.randn((2, 3, sharing, PLACES, size), generator=generator)
    query = 3 * torch.randn((5, heads, size), generator=generator)
    found = torch.zeros((5, heads, size))
    places = np.array([(0, 2, 0, 1), (1, 0, 0, PLACES), (3, 1, 7, 40), (4, 1, 39, 40)])
    given = (query.numpy(), key.numpy(), value.numpy(), places.T.copy())
    kernels.attend(*given, 100, 0.2, found.numpy())
    for first, slot, begin, end in places:
        expected = F.scaled_dot_product_attention(
            query[first][None, :, None],
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
    key, value = np.ones((2, 2, 4, PLACES, 8), np.float32)
    query, found = np.ones((1, 4, 8), np.float32), np.zeros((1, 4, 8), np.float32)
    (query if where == "query" else key[0, :, 3])[..., 0] = damage
    key[0, :, :, 0] *= 3
    kernels.attend(query, key, value, np.array([[0], [0], [0], [9]]), 9, 1.0, found)
    assert not np.isfinite(found).any()


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
