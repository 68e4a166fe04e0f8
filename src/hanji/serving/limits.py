"""How much a service takes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused beyond these, before anything is computed.

    Attributes:
        body_bytes: of a request's body.
        queue: answers of a model that wait for a slot; more is answered with 429.
        choices: answers that one request may ask for, prompts times `n`.
        inputs: texts that one request may have read (embeddings, labels, scores).
        seconds: from a request to the end of its answer.
        drain_seconds: given to answers on their way when the service ends.
    """

    body_bytes: int = 8 * 2**20
    queue: int = 64
    choices: int = 64
    inputs: int = 256
    seconds: float = 600.0
    drain_seconds: float = 30.0
