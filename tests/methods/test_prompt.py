"""Soft prompts: tokens past the vocabulary."""

import torch
from torch import Tensor, nn

from hanji.methods.prompt import PromptEmbedding


def gradient(ids: Tensor, upstream: Tensor) -> Tensor:
    embedding = PromptEmbedding(nn.Embedding(50, 32), torch.zeros(6, 32))
    embedding(ids).backward(upstream)
    assert embedding.prompt.grad is not None
    return embedding.prompt.grad


def test_the_gradient_has_the_same_bits_however_many_threads_sum_it() -> None:
    torch.manual_seed(0)
    ids, upstream = torch.randint(44, 56, (20_000,)), torch.randn(20_000, 32)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        first, *others = (gradient(ids, upstream) for _ in range(5))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, other) for other in others)
    expected = torch.zeros(6, 32).index_add(0, (ids - 50).clamp_min(0), upstream * (ids >= 50)[:, None])
    assert torch.allclose(first, expected, atol=1e-3)
