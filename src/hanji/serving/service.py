"""What the endpoints share: the models, the limits, who may ask, and what is kept."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

from hanji.serving.chores import Chore
from hanji.serving.journal import Journal
from hanji.serving.limits import Limits
from hanji.serving.metrics import Metrics
from hanji.serving.models import Models
from hanji.storage.feedback import FeedbackBook
from hanji.storage.keys import ApiKey, Keys

_REMEMBERED: Final = 100_000
"""Ids of answers that feedback is taken for, without a log."""


@dataclass(slots=True)
class Service:
    """The service.

    Attributes:
        keys: who may ask; None: anybody who can reach it.
        feedback: where ratings are kept, or None. `journal`: where requests are, or None.
        hosts: names that clients may call it by; None: any.
        chores: what it does by itself while it serves.
    """

    models: Models
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    keys: Keys | None = None
    feedback: FeedbackBook | None = None
    journal: Journal | None = None
    hosts: frozenset[str] | None = None
    chores: Sequence[Chore] = ()
    _answers: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def new_id(self, prefix: str, model: str) -> str:
        """An id that nobody can guess, for an answer of `model`; feedback on it is taken."""
        answer_id = f"{prefix}-{secrets.token_hex(16)}"
        self._answers[answer_id] = model
        if len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)
        return answer_id

    def model_of(self, answer_id: str) -> str | None:
        """Which model an id was given to, where it is remembered."""
        return self._answers.get(answer_id)


@dataclass(frozen=True, slots=True)
class Call:
    """A request, as endpoints need it.

    Attributes:
        started: by `time.monotonic`. `created`: seconds since 1970.
    """

    service: Service
    key: ApiKey | None
    started: float
    created: int

    @classmethod
    def of(cls, request: Request) -> Call:
        """From what the gate has noted."""
        scope = request.scope
        return cls(
            request.app.state.service, scope.get("hanji.key"),
            scope.get("hanji.started", time.monotonic()), int(time.time()),
        )  # fmt: skip
