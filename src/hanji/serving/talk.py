"""A request that is answered with text: what chats and completions share."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from hanji.generation.requests import Answer, Request
from hanji.serving.backend import Ticket
from hanji.serving.bodies.generation import Generating
from hanji.serving.choice import Choice, Part
from hanji.serving.errors import ApiError, invalid
from hanji.serving.flight import Flight
from hanji.serving.models import Served
from hanji.serving.service import Call
from hanji.storage.request_log import LoggedRequest


class Talk:
    """One request on its way from a body to an answer.

    Attributes:
        id: the answer's.
        choices: as much of each answer as there is.
        prompt_tokens: of all prompts.
    """

    def __init__(self, call: Call, body: Generating, kind: Literal["chat", "completion"]) -> None:
        prefix = "chatcmpl" if kind == "chat" else "cmpl"
        self.call, self.body, self.kind = call, body, kind
        self.id = call.service.new_id(prefix, body.model)
        self.choices: list[Choice] = []
        self.prompt_tokens = self.completion_tokens = self.reused_tokens = 0
        self.artifact = ""
        self._first_token_seconds: float | None = None
        self._tickets: Sequence[Ticket] = ()
        if body.stream_options is not None and not body.stream:
            raise invalid("`stream_options` goes with `stream: true`", "stream_options")

    def check_choices(self, prompts: int) -> None:
        """Refuses more answers than one request may have.

        Raises:
            ApiError: 400.
        """
        limits = self.call.service.limits
        asked, most = prompts * (self.body.n or 1), min(limits.choices, limits.queue + 1)
        if asked > most:
            raise invalid(f"{asked} answers are asked for at once; at most {most} are given", "n")

    async def fly(
        self, served: Served, requests: Sequence[Request], prompt_tokens: int
    ) -> AsyncGenerator[tuple[int, Part], None]:
        """Has the requests answered, and tells what becomes certain of which choice.

        Raises:
            ApiError: too many wait already, the time is over, or the model failed.
        """
        service = self.call.service
        self.artifact, self.prompt_tokens = served.loaded.artifact, prompt_tokens
        self.choices = [Choice(served.tokenizer) for _ in requests]
        with self._noted():
            flight = Flight(served, requests, self.call.started, service.limits.seconds)
            self._tickets = flight.tickets
            try:
                while (told := await flight.next()) is not None:
                    number, piece = told
                    self.completion_tokens = flight.completion_tokens
                    self.reused_tokens = flight.reused_tokens
                    yield number, self.choices[number].take(piece, flight.tickets[number].answer)
            finally:
                flight.cancel()
                service.metrics.generated(self.body.model, flight, prompt_tokens)
                self._first_token_seconds = flight.first_token_seconds

    @property
    def is_answered(self) -> bool:
        """Whether the last piece of every answer was told."""
        return all(choice.finish_reason is not None for choice in self.choices)

    def answer(self, number: int) -> Answer:
        """What the engine has answered for a choice so far."""
        return self._tickets[number].answer

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Keeps request and answer at the end, where that is asked for."""
        finish = "cancelled"
        try:
            yield
            finish = ",".join(dict.fromkeys(choice.finish_reason or "" for choice in self.choices))
        except ApiError as error:
            finish = f"error {error.status}"
            raise
        finally:
            journal = self.call.service.journal
            if journal is not None:
                journal.add(self._entry(finish))

    def _entry(self, finish: str) -> LoggedRequest:
        seconds = time.monotonic() - self.call.started
        return LoggedRequest(
            answer_id=self.id, kind=self.kind, model=self.body.model,
            request=self.body.model_dump(exclude_none=True, by_alias=True),
            answer={
                "artifact": self.artifact,
                "choices": [
                    {"text": choice.text, "finish_reason": choice.finish_reason} for choice in self.choices
                ],
            },
            finish=finish, prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens,
            started=datetime.now(UTC) - timedelta(seconds=seconds),
            first_token_seconds=self._first_token_seconds, seconds=seconds,
            key_id=self.call.key.id if self.call.key else None,
        )  # fmt: skip

    def usage(self) -> dict[str, Any]:
        """The tokens, as OpenAI counts them."""
        return {
            "prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.reused_tokens},
        }  # fmt: skip

    def envelope(self, kind: str) -> dict[str, Any]:
        """What every answer, and every event of one, begins with."""
        return {
            "id": self.id, "object": kind, "created": self.call.created, "model": self.body.model,
            "system_fingerprint": self.artifact,
        }  # fmt: skip
