"""The output head and its cross-entropy, in chunks: the logits of a whole batch never exist at once."""

from __future__ import annotations

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
        rows = max(1, CHUNK_BYTES // (4 * weight.shape[0]))
        for start in range(0, hidden.shape[0], rows):
            part, wanted = hidden[start : start + rows], labels[start : start + rows, None]
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
                torch.mm(gradient, weight, out=hidden_gradient[start : start + rows])
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
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        half = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(half), weight.to(half)
        bias = None if bias is None else bias.to(half)
        with torch.autocast(device, enabled=False):
            return ChunkedCrossEntropy.apply(hidden, weight, bias, labels)  # type: ignore[no-any-return, no-untyped-call]
    return ChunkedCrossEntropy.apply(hidden, weight, bias, labels)  # type: ignore[no-any-return, no-untyped-call]
