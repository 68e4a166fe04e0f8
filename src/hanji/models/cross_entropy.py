"""The output head and its cross-entropy, in chunks: the logits of a whole batch never exist at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 64 * 1024 * 1024
"""Logits held at a time, in bytes: enough rows to keep a matrix product busy, few enough to cost little."""


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed −log softmax(hidden · weightᵀ)[label], with both gradients computed in the same pass.

    The sum's gradient is known up to a factor before the backward pass, so each chunk of logits is made once,
    used for the loss and for both gradients, and forgotten: three matrix products instead of four, and a
    memory of one chunk (the idea of Cut Cross-Entropy, Wijmans et al. 2024, and of Liger's fused loss).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            hidden: [positions, hidden_size]. weight: [vocabulary, hidden_size]. bias: [vocabulary] or None.
            labels: [positions] int64.

        Returns:
            [] the sum in nats (fp32), and [] how many labels were the most probable token.
        """
        learns = [tensor is not None and tensor.requires_grad for tensor in (hidden, weight, bias)]
        hidden_gradient = torch.empty_like(hidden) if learns[0] else None
        weight_gradient = torch.zeros_like(weight) if learns[1] else None
        bias_gradient = torch.zeros_like(bias) if learns[2] and bias is not None else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
        for span in _chunks(hidden, weight):
            part, wanted = hidden[span], labels[span, None]
            logits = F.linear(part, weight, bias).float()
            highest, likeliest = logits.max(-1, keepdim=True)
            at_label = logits.gather(1, wanted)
            correct += (likeliest == wanted).sum()
            probabilities = torch.softmax(logits, -1, out=logits)
            # log of the normaliser through the largest probability, which cannot underflow
            total += (highest - probabilities.gather(1, likeliest).log() - at_label).sum()
            if not any(learns):
                continue
            minus_one = torch.full_like(highest, -1.0)
            gradient = probabilities.scatter_add_(1, wanted, minus_one).to(part.dtype)
            if hidden_gradient is not None:
                torch.mm(gradient, weight, out=hidden_gradient[span])
            if weight_gradient is not None:
                weight_gradient.addmm_(gradient.T, part)
            if bias_gradient is not None:
                bias_gradient += gradient.sum(0)
        ctx.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)
        ctx.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """The saved gradients times the factor that came from above (the saved ones are used up)."""
        factor = gradients[0]
        scaled = [None if saved is None else saved.mul_(factor) for saved in ctx.saved_tensors]
        return scaled[0], scaled[1], scaled[2], None


def summed_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """`ChunkedCrossEntropy` under whatever precision is in force (autocast included)."""
    return _in_precision(ChunkedCrossEntropy, hidden, weight, bias, labels)  # type: ignore[no-any-return]


class ChunkedLogProbabilities(torch.autograd.Function):
    """log softmax(hidden · weightᵀ)[label] of each position, whose gradients come from above one by one.

    Here the factors of the gradient are not known in the forward pass, so the logits of each chunk are made
    a second time in the backward pass rather than kept.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
        """
        Args:
            hidden: [positions, hidden_size]. weight: [vocabulary, hidden_size]. bias: [vocabulary] or None.
            labels: [positions] int64.

        Returns:
            [positions] in nats (fp32).
        """
        normalisers = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        found = torch.empty_like(normalisers)
        for span in _chunks(hidden, weight):
            logits = F.linear(hidden[span], weight, bias).float()
            normalisers[span] = logits.logsumexp(-1)
            found[span] = logits.gather(1, labels[span, None])[:, 0] - normalisers[span]
        ctx.save_for_backward(hidden, weight, bias, labels, normalisers)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Each chunk's logits again, and their gradients with the factors that came from above."""
        hidden, weight, bias, labels, normalisers = ctx.saved_tensors
        learns = ctx.needs_input_grad
        hidden_gradient = torch.empty_like(hidden) if learns[0] else None
        weight_gradient = torch.zeros_like(weight) if learns[1] else None
        bias_gradient = torch.zeros_like(bias) if learns[2] and bias is not None else None
        for span in _chunks(hidden, weight):
            factors, wanted = gradients[0][span, None], labels[span, None]
            logits = F.linear(hidden[span], weight, bias).float()
            probabilities = logits.sub_(normalisers[span, None]).exp_()
            gradient = probabilities.mul_(-factors).scatter_add_(1, wanted, factors).to(hidden.dtype)
            if hidden_gradient is not None:
                torch.mm(gradient, weight, out=hidden_gradient[span])
            if weight_gradient is not None:
                weight_gradient.addmm_(gradient.T, hidden[span])
            if bias_gradient is not None:
                bias_gradient += gradient.sum(0)
        return hidden_gradient, weight_gradient, bias_gradient, None


def log_probabilities(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """`ChunkedLogProbabilities` under whatever precision is in force (autocast included)."""
    return _in_precision(ChunkedLogProbabilities, hidden, weight, bias, labels)  # type: ignore[no-any-return]


def _chunks(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    """Spans of positions whose logits take `CHUNK_BYTES`."""
    rows = max(1, CHUNK_BYTES // (4 * weight.shape[0]))
    for start in range(0, hidden.shape[0], rows):
        yield slice(start, min(start + rows, hidden.shape[0]))


def _in_precision(function: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Any:
    device = hidden.device.type
    if not torch.is_autocast_enabled(device):
        return function.apply(hidden, weight, bias, labels)
    half = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        bias = None if bias is None else bias.to(half)
        return function.apply(hidden.to(half), weight.to(half), bias, labels)
