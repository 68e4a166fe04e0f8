"""How probable tokens were."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hanji.generation.requests import TokenLogprob


def logprobs(logits: Tensor, tokens: Sequence[int], top: int) -> list[TokenLogprob]:
    """Of each row of logits, the log-probability of its token and of the `top` most probable."""
    table = logits.log_softmax(-1)
    own = table.gather(-1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    if not top:
        return [TokenLogprob(token, value) for token, value in zip(tokens, own, strict=True)]
    best = table.topk(min(top, table.shape[-1]))
    return [
        TokenLogprob(token, value, tuple(zip(ids, values, strict=True)))
        for token, value, ids, values in zip(
            tokens, own, best.indices.tolist(), best.values.tolist(), strict=True
        )
    ]
