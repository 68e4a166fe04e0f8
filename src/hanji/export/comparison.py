"""What a model says before and after it was exported, and how far apart the two are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hanji.contracts.errors import ModelError

Row = Mapping[str, list[int]]
"""A model's inputs for one text: `input_ids`, `attention_mask`, and `token_type_ids` where there are any."""
Answers = list[Tensor]
"""For each row all that the model says of it, end to end."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that was held against another, and was the same.

    Attributes:
        reader: who read the export.
        what: what was compared.
        difference: the largest, as a share of the largest value; None where equality was asked for.
    """

    reader: str
    what: str
    difference: float | None = None

    def __str__(self) -> str:
        how = "equal" if self.difference is None else f"the same to {self.difference:.1e} of the largest"
        return f"{self.reader}: {self.what}: {how}"


def answers_of(model: Any, rows: Sequence[Row]) -> Answers:
    """What a transformers model says of each row alone, its soft prompt before it where it has one."""
    model.eval()
    with torch.inference_mode():
        return [flat(model(**_inputs(model, row))) for row in rows]


def flat(output: Any) -> Tensor:
    """All that a model gave for one row: logits, or those of tokens and those of how two texts stand."""
    if "prediction_logits" in output:
        return torch.cat([output.prediction_logits.flatten(), output[1].flatten()]).float()
    return output.logits.flatten().float()  # type: ignore[no-any-return]


def _inputs(model: Any, row: Row) -> dict[str, Tensor]:
    """[1, tokens] of each input; what stands before the row is attended to, and of the first text."""
    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    virtual = list(getattr(embedding, "virtual_ids", ()))
    before = {
        "input_ids": virtual,
        "attention_mask": [1] * len(virtual),
        "token_type_ids": [0] * len(virtual),
    }
    return {name: torch.tensor([[*before[name], *values]]) for name, values in row.items()}


def compare(
    reader: str, what: str, found: Sequence[Tensor], expected: Sequence[Tensor], *, tolerance: float
) -> Comparison:
    """Holds what a reader of the export says against what the model said.

    Args:
        tolerance: as a share of the largest value of all.

    Raises:
        ModelError: they differ by more, or are not even of one shape.
    """
    shapes = [tuple(part.shape) for part in found], [tuple(part.shape) for part in expected]
    if shapes[0] != shapes[1]:
        raise differs(reader, what, f"shapes {shapes[0][:2]}", f"shapes {shapes[1][:2]}")
    there, here = torch.cat(list(found)).double(), torch.cat(list(expected)).double()
    difference = float((there - here).abs().max() / here.abs().max().clamp_min(1e-12))
    if not difference <= tolerance:  # so that NaN differs
        raise differs(reader, what, f"{difference:.2e} of the largest", f"at most {tolerance:.0e}")
    return Comparison(reader, what, difference)


def differs(reader: str, what: str, found: object, expected: str) -> ModelError:
    """The error of an export that does not say what the model said; nothing of it is kept."""
    return ModelError(
        f"the export was read back by {reader}, and is not the model: {what} differ",
        value=found,
        expected=expected,
        hint="nothing was kept; this is a fault of hanji or of that reader: please tell us",
    )
