"""Is the fast path right for this very model? Asked at load on a few random ids; no list of names to keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hanji.models.attention import PACKED_ATTENTION, Documents, packed_masks

TOLERANCE = 2e-5
"""Largest difference of logits, relative to their largest, that counts as equal (fp32 rounding is ~1e-6)."""

_SHORT_WINDOW = 512
"""A sliding window up to this long is probed with a document that overruns it."""


@dataclass
class Probe:
    """What was found. `explanations` are sentences for the log, one for each path not taken."""

    packed_up_to: int
    own_head: bool
    explanations: list[str] = field(default_factory=list)


@torch.no_grad()
def probe(model: Any, pad_id: int) -> Probe:
    """Compares the packed path and the chunked head with the model's own logits, and sets its attention.

    The model is left in packed attention where that is right, else in the attention it came with.
    """
    was_training, original = model.training, model.config._attn_implementation
    model.eval()
    try:
        documents = _random_documents(model, pad_id)
        alone = torch.cat(
            [model(input_ids=ids[None], use_cache=False).logits[0] for ids in documents]
        ).float()
        result = Probe(packed_up_to=0, own_head=False)
        problem = _packed_problem(model, documents, alone)
        if problem is None:
            result.packed_up_to = _proven_length(model.config)
        else:
            model.set_attn_implementation(original)
            result.explanations.append(
                f"{type(model).__name__}: documents are padded, not packed ({problem}); slower, and as exact"
            )
        problem = _head_problem(model, documents, alone)
        result.own_head = problem is None
        if problem is not None:
            result.explanations.append(
                f"{type(model).__name__}: the model's own output head is used ({problem}); more memory"
            )
        return result
    finally:
        model.train(was_training)


def _random_documents(model: Any, pad_id: int) -> list[Tensor]:
    window = _sliding_window(model.config)
    longest = window + 9 if window and window <= _SHORT_WINDOW else 23
    generator = torch.Generator().manual_seed(0)
    size = model.get_input_embeddings().weight.shape[0]
    ids = [torch.randint(0, size, (length,), generator=generator) for length in (7, longest, 1, 12)]
    unlike_pad = (pad_id + 1) % size
    device = next(model.parameters()).device
    return [torch.where(row == pad_id, unlike_pad, row).to(device) for row in ids]


def _packed_problem(model: Any, documents: list[Tensor], alone: Tensor) -> str | None:
    ids = torch.cat(documents)
    positions = torch.cat([torch.arange(len(row), device=ids.device) for row in documents])
    layout = Documents(tuple(len(row) for row in documents), ids.device)
    try:
        model.set_attn_implementation(PACKED_ATTENTION)
        with packed_masks():
            output = model(
                input_ids=ids[None], position_ids=positions[None], documents=layout, use_cache=False
            )
    except Exception as error:  # any architecture may refuse in its own way; the padded path is always right
        return f"packed attention fails with {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return _difference(output.logits[0].float(), alone)


def _head_problem(model: Any, documents: list[Tensor], alone: Tensor) -> str | None:
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return f"it is a {type(head).__name__}"
    hidden = [
        model.base_model(input_ids=ids[None], use_cache=False).last_hidden_state[0] for ids in documents
    ]
    return _difference(head(torch.cat(hidden)).float(), alone)


def _difference(found: Tensor, expected: Tensor) -> str | None:
    scale = expected.abs().max().clamp_min(1e-6)
    difference = float((found - expected).abs().max() / scale)
    tolerance = TOLERANCE
    return None if difference <= tolerance else f"logits differ by {difference:.1e} of their largest"


def _sliding_window(config: Any) -> int | None:
    window = getattr(config, "sliding_window", None)
    return int(window) if window and getattr(config, "use_sliding_window", True) else None


def _proven_length(config: Any) -> int:
    window = _sliding_window(config)
    return 2**31 if window is None or window <= _SHORT_WINDOW else window
