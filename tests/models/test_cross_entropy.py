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


def _log_probability_inputs(with_bias: bool) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    """Hidden states, weight and bias, the same in float64, and labels."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(33, 16), (97, 16), *([(97,)] if with_bias else [])]
    inputs = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    labels = torch.randint(0, 97, (33,), generator=generator)
    return inputs, [tensor.detach().double().requires_grad_() for tensor in inputs], labels


def _exact(inputs: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    logits = F.linear(inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None)
    return logits.log_softmax(-1)[torch.arange(len(labels)), labels]


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_log_probabilities_and_gradients(with_bias: bool, seed: int) -> None:
    """Each position's gradient comes with a factor of its own, of either sign, and some with none."""
    inputs, exact, labels = _log_probability_inputs(with_bias)
    factors = torch.randn(33, generator=torch.Generator().manual_seed(seed))
    factors[::5] = 0.0
    bias = inputs[2] if with_bias else None
    found = cross_entropy.log_probabilities(inputs[0], inputs[1], bias, labels)
    expected = _exact(exact, labels)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
    (found * factors).sum().backward()
    (expected * factors).sum().backward()
    for mine, theirs in zip(inputs, exact, strict=True):
        assert mine.grad is not None and theirs.grad is not None
        # single elements of a sum that nearly cancels out are rounded more; the whole is exact to fp32
        assert float((mine.grad - theirs.grad).norm() / theirs.grad.norm()) < 1e-6
    assert not inputs[0].grad[::5].any()


@pytest.mark.usefixtures("chunk")
def test_log_probabilities_in_a_loss_that_is_no_sum() -> None:
    """As in preference optimisation: the factors follow from the values themselves."""
    inputs, exact, labels = _log_probability_inputs(True)

    def loss(each: torch.Tensor) -> torch.Tensor:
        return F.softplus(each[:16].sum() * 0.1 - each[16:].mean() * 3) + each.square().mean()

    loss(cross_entropy.log_probabilities(inputs[0], inputs[1], inputs[2], labels)).backward()
    loss(_exact(exact, labels)).backward()
    for mine, theirs in zip(inputs, exact, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad.float(), rtol=2e-5, atol=2e-6)


def test_log_probabilities_by_finite_differences() -> None:
    """The gradient along a random direction, without anybody's formula; the values in fp32 bound the step."""
    inputs, _, labels = _log_probability_inputs(True)
    generator = torch.Generator().manual_seed(9)
    factors = torch.randn(33, generator=generator)
    directions = [torch.randn(tensor.shape, generator=generator) for tensor in inputs]
    (cross_entropy.log_probabilities(*inputs, labels) * factors).sum().backward()
    along = sum(
        (t.grad * d).sum().item() for t, d in zip(inputs, directions, strict=True) if t.grad is not None
    )
    step = 1e-3
    ends = []
    for sign in (1, -1):
        moved = [t.detach() + sign * step * d for t, d in zip(inputs, directions, strict=True)]
        ends.append((cross_entropy.log_probabilities(*moved, labels).double() * factors).sum().item())
    assert along == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-3)


@pytest.mark.parametrize("learns", [(True, False, False), (False, True, False), (False, False, True)])
def test_log_probabilities_of_what_is_frozen(learns: tuple[bool, bool, bool]) -> None:
    inputs, exact, labels = _log_probability_inputs(True)
    for tensor, own in zip(inputs, learns, strict=True):
        tensor.requires_grad_(own)
    cross_entropy.log_probabilities(*inputs, labels).sum().backward()
    _exact(exact, labels).sum().backward()
    for mine, theirs, own in zip(inputs, exact, learns, strict=True):
        assert (mine.grad is not None) == own
        if own:
            torch.testing.assert_close(mine.grad, theirs.grad.float(), rtol=1e-5, atol=2e-6)


def test_log_probabilities_of_no_positions() -> None:
    weight = torch.randn(5, 4, requires_grad=True)
    found = cross_entropy.log_probabilities(
        torch.zeros(0, 4), weight, None, torch.zeros(0, dtype=torch.int64)
    )
    assert found.shape == (0,)
    found.sum().backward()
    assert weight.grad is not None and not weight.grad.any()


def test_a_vanishing_probability_has_a_finite_logarithm() -> None:
    weight = torch.tensor([[200.0], [-200.0]], requires_grad=True)
    found = cross_entropy.log_probabilities(torch.ones(1, 1), weight, None, torch.tensor([1]))
    assert found.item() == pytest.approx(-400.0)
    found.sum().backward()
    assert weight.grad is not None and weight.grad.flatten().tolist() == [-1.0, 1.0]


def test_log_probabilities_in_bfloat16_under_autocast() -> None:
    inputs, exact, labels = _log_probability_inputs(True)
    with torch.autocast("cpu", torch.bfloat16):
        found = cross_entropy.log_probabilities(*inputs, labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, _exact(exact, labels).float(), rtol=2e-2, atol=0.1)
    found.sum().backward()
    _exact(exact, labels).sum().backward()
    for mine, theirs in zip(inputs, exact, strict=True):
        assert mine.grad is not None and mine.grad.dtype == torch.float32
        assert float((mine.grad - theirs.grad).norm() / theirs.grad.norm()) < 0.02
