"""A model's own head, run on hidden states that we choose: all that stands behind the body.

Heads differ (a transform before the output matrix, a pooler, a dense layer), and each model's forward knows
its own. So the forward itself is run, with a body that only hands over hidden states computed before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions


class _Given(nn.Module):
    """Stands in the place of the body, and has its answer ready."""

    def __init__(self, hidden: Tensor, pooled: Tensor | None) -> None:
        super().__init__()
        self.answer = BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=hidden, pooler_output=pooled
        )

    def forward(self, *args: Any, **options: Any) -> BaseModelOutputWithPoolingAndCrossAttentions:
        """The hidden states that were given."""
        return self.answer


@contextmanager
def head_alone(
    model: Any, hidden: Tensor, pooled: Tensor | None, *, without_matrix: bool = False
) -> Iterator[Any]:
    """The model, whose body gives `hidden` whatever it is asked.

    Args:
        hidden: [rows, positions, hidden_size]. pooled: [rows, hidden_size], for models with a pooler.
        without_matrix: leaves the output matrix out: the model's logits are then what it would be multiplied
            with.
    """
    prefix, body = model.base_model_prefix, model.base_model
    matrix = model.get_output_embeddings() if without_matrix else None
    setattr(model, prefix, _Given(hidden, pooled))
    if matrix is not None:
        matrix.forward = _as_it_is
    try:
        yield model
    finally:
        setattr(model, prefix, body)
        if matrix is not None:
            del matrix.forward


def pooled(model: Any, first: Tensor) -> Tensor | None:
    """[documents, hidden_size] what the body's pooler makes of first tokens; None without a pooler."""
    body = model.base_model
    pooler = getattr(body, "pooler", None)
    if pooler is None:
        return None
    if hasattr(body, "pooler_activation"):  # ALBERT keeps the two halves apart
        return body.pooler_activation(pooler(first))  # type: ignore[no-any-return]
    return pooler(first[:, None])  # type: ignore[no-any-return]


def _as_it_is(states: Tensor) -> Tensor:
    return states
