"""Is the fast path right for this very model? Asked at load on a few random ids; no list of names to keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hanji.contracts.batch import IGNORED, Batch
from hanji.models.attention import PACKED_ATTENTION

if TYPE_CHECKING:
    from hanji.models.policies.policy import ModelPolicy

TOLERANCE = 2e-5
"""Largest difference of logits, relative to their largest, that counts as equal (fp32 rounding is ~1e-6)."""

_SHORT_WINDOW = 512
"""A sliding window up to this long is probed with a document that overruns it."""


@dataclass
class Probe:
    """What was found. `explanations` are sentences for the log, one for each path not taken."""

    packed_up_to: int = 0
    own_head: bool = False
    position_offset: int = 0
    explanations: list[str] = field(default_factory=list)


@torch.no_grad()
def probe(policy: ModelPolicy) -> Probe:
    """Compares the packed path and the head at chosen positions with the model's own output, and sets its
    attention.

    The model is left in packed attention where that is right, else in the attention it came with.
    """
    model = policy.model
    was_training, original = model.training, model.config._attn_implementation
    model.eval()
    try:
        documents = [policy.complete(document) for document in _random_documents(policy)]
        name, result = type(model).__name__, Probe()
        bodies = [policy.hidden_states(document) for document in documents]
        packed, problem = None, "no position was right"
        for offset in (0, policy.pad_id + 1) if policy.encodes else (0,):
            packed, problem = _packed(policy, documents, bodies, offset)
            if packed is not None:
                result.packed_up_to = _proven_length(model.config)
                result.position_offset = offset
                break
        if packed is None:
            _leave_packing(policy, original)
            result.explanations.append(
                f"{name}: documents are padded, not packed ({problem}); slower, and as exact"
            )
        problem_of_head = _head_problem(policy, documents, bodies)
        result.own_head = problem_of_head is None
        if problem_of_head is not None:
            result.explanations.append(
                f"{name}: the model's own output head is used ({problem_of_head}); more memory"
            )
        return result
    finally:
        policy.packed_up_to, policy.position_offset = 0, 0
        model.train(was_training)


def _random_documents(policy: ModelPolicy) -> list[Batch]:
    model = policy.model
    window = _sliding_window(model.config)
    longest = window + 9 if window and window <= _SHORT_WINDOW else 23
    generator = torch.Generator().manual_seed(0)
    size = model.get_input_embeddings().weight.shape[0]
    ids = [torch.randint(0, size, (length,), generator=generator) for length in (7, longest, 1, 12)]
    unlike_pad = (policy.pad_id + 1) % size
    return [_document(torch.where(row == policy.pad_id, unlike_pad, row), policy) for row in ids]


def _document(ids: Tensor, policy: ModelPolicy) -> Batch:
    """Of an encoder, the latter half is a second text."""
    segments = (torch.arange(len(ids)) > len(ids) // 2).long() if policy.encodes else None
    return Batch(ids, torch.full_like(ids, IGNORED), (len(ids),), segments).to(policy.device)


def _together(documents: list[Batch]) -> Batch:
    segments = [document.segments for document in documents if document.segments is not None]
    return Batch(
        torch.cat([document.input_ids for document in documents]),
        torch.cat([document.labels for document in documents]),
        tuple(length for document in documents for length in document.lengths),
        torch.cat(segments) if segments else None,
    )


def _packed(
    policy: ModelPolicy, documents: list[Batch], bodies: list[Tensor], offset: int
) -> tuple[Tensor | None, str]:
    """The body's hidden states of all documents packed, or None and what is wrong with them."""
    policy.packed_up_to, policy.position_offset = 2**31, offset
    try:
        policy.model.set_attn_implementation(PACKED_ATTENTION)
        packed = policy.hidden_states(_together(documents))
    except Exception as error:  # any architecture may refuse in its own way; the padded path is always right
        first, *_ = str(error).splitlines() or [""]
        return None, f"packed attention fails with {type(error).__name__}: {first[:120]}"
    finally:
        policy.packed_up_to = 0
    problem = _difference(packed.float(), torch.cat(bodies).float())
    return (packed, "") if problem is None else (None, problem)


def _leave_packing(policy: ModelPolicy, original: Any) -> None:
    policy.position_offset = 0
    policy.model.set_attn_implementation(original)


def _head_problem(policy: ModelPolicy, documents: list[Batch], bodies: list[Tensor]) -> str | None:
    """Whether the head at the body's hidden states gives what the whole model does."""
    try:
        found = [policy.at_head(body, document) for body, document in zip(bodies, documents, strict=True)]
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        return str(error).splitlines()[0][:120]
    expected = [policy.whole(document) for document in documents]
    return _difference(_flat(found), _flat(expected))


def _flat(outputs: list[Tensor]) -> Tensor:
    return torch.cat([output.float().flatten() for output in outputs])


def _difference(found: Tensor, expected: Tensor) -> str | None:
    scale = expected.abs().max().clamp_min(1e-6)
    difference = float((found - expected).abs().max() / scale)
    return None if difference <= TOLERANCE else f"values differ by {difference:.1e} of their largest"


def _sliding_window(config: Any) -> int | None:
    window = getattr(config, "sliding_window", None) or getattr(config, "local_attention", None)
    return int(window) if window and getattr(config, "use_sliding_window", True) else None


def _proven_length(config: Any) -> int:
    window = _sliding_window(config)
    return 2**31 if window is None or window <= _SHORT_WINDOW else window
