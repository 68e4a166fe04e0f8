"""A model under evaluation, with everything that a score may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hanji.contracts.protocols import Objective, Policy
from hanji.contracts.rows import TokenRows
from hanji.generation import Generation

Batches = Callable[[], Iterator[TokenRows]]
"""Tokenised rows in batches, from the beginning each time it is called."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One model; what is absent is None or empty, and scores that need it do not apply.

    Attributes:
        policy: the model. `device`: where it is.
        vocabulary_size: of its tokenizer.
        objective: what its rows are collated by.
        training: the rows that a baseline may learn from.
        held_out: the rows to be scored on.
        answers: what it said to the prompts.
        chats: whether it was taught to answer, rather than to continue a text.
    """

    policy: Policy
    device: str
    vocabulary_size: int
    objective: Objective | None = None
    training: Batches | None = None
    held_out: Batches | None = None
    answers: Sequence[Generation] = ()
    chats: bool = False
