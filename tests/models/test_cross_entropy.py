"""The chunked head against PyTorch's cross-entropy in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hanji.models import cross_entropy


@pytest.fixture(params=[1, 7, 1000], ids=lambda rows: f"{rows} rows a chunk")
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", 4 * 97 * request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("with_bias", [False, True])
def test_sum_and_gradients(with_bias: bool) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(33, 16, requires_grad=True)
    weight = torch.randn(97, 16, requires_grad=True)
    bias = torch.randn(97, requires_grad=True) if with_bias else None
    labels = torch.randint(0, 97, (33,))
    inputs = [tensor for tensor in (hidden, weight, bias) if tensor is not None]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    logits = F.linear(exact[0], exact[1], exact[2] if with_bias else None)
    expected = F.cross_entropy(logits, labels, reduction="sum")
    (expected * 0.25).backward()
    total, correct = cross_entropy.summed_cross_entropy(hidden, weight, bias, labels)
    (total * 0.25).backward()
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert correct.item() == (logits.argmax(-1) == labels).sum().item()
    for mine, theirs in zip(inputs, exact, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad.float(), rtol=1e-5, atol=1e-6)


def test_a_label_of_vanishing_probability_has_a_finite_loss() -> None:
    weight = torch.tensor([[200.0], [-200.0]])
    total, _ = cross_entropy.summed_cross_entropy(torch.ones(1, 1), weight, None, torch.tensor([1]))
    assert total.item() == pytest.approx(400.0)


def test_frozen_weights_get_no_gradient() -> None:
    hidden = torch.randn(3, 4, requires_grad=True)
    weight = torch.randn(5, 4)
    total, _ = cross_entropy.summed_cross_entropy(hidden, weight, None, torch.tensor([0, 1, 2]))
    total.backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_bfloat16_under_autocast() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(64, 32, requires_grad=True)
    weight = torch.randn(50, 32, requires_grad=True)
    labels = torch.randint(0, 50, (64,))
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = cross_entropy.summed_cross_entropy(hidden, weight, None, labels)
    total.backward()
    expected = F.cross_entropy(hidden @ weight.T, labels, reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=2e-2)
    assert hidden.grad is not None and hidden.grad.dtype == torch.float32
