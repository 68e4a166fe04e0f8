"""The request log: what was asked and answered, kept only where that is asked for, and not for ever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import JSON, ForeignKey, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from hanji.storage.database import Database
from hanji.storage.tables import Base, now

_PURGED_AT_ONCE: Final = 1000
"""Rows that one transaction deletes: others who write wait only so long."""


class LoggedRequest(Base):
    """A request and its answer.

    Attributes:
        answer_id: as the client was given it; feedback has the same.
        kind: what was asked for: `chat`, `completion`, `embedding`, ...
        model: what the client called it.
        request, answer: as JSON; no answer where there came none.
        finish: why it ended: `stop`, `length`, `cancelled`, `error`, ...
        started: when the request came.
        seconds: from then to the end; `first_token_seconds`: to the first token.
        key_id: of the key that it came with, if any.
    """

    __tablename__ = "requests"

    answer_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    model: Mapped[str]
    request: Mapped[dict[str, Any]] = mapped_column(repr=False)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None, repr=False)
    finish: Mapped[str | None] = mapped_column(default=None)
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    started: Mapped[datetime] = mapped_column(default_factory=now, index=True)
    first_token_seconds: Mapped[float | None] = mapped_column(default=None)
    seconds: Mapped[float | None] = mapped_column(default=None)
    key_id: Mapped[int | None] = mapped_column(ForeignKey("api_keys.id"), default=None)


class RequestLog:
    """The request log of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, requests: Sequence[LoggedRequest]) -> None:
        """Keeps requests, all of them or, where the database fails, none.

        Raises:
            StorageError: it failed.
        """
        with self._database.write() as session:
            session.add_all(requests)

    def get(self, answer_id: str) -> LoggedRequest | None:
        """The request that an answer came from, where it is kept."""
        with self._database.read() as session:
            return session.get(LoggedRequest, answer_id)

    def all(self, *, since: datetime | None = None, limit: int = 1000) -> Sequence[LoggedRequest]:
        """The newest requests, newest first; only those since a moment, where one is given."""
        wanted = select(LoggedRequest).order_by(LoggedRequest.started.desc(), LoggedRequest.answer_id)
        if since is not None:
            wanted = wanted.where(LoggedRequest.started >= since)
        with self._database.read() as session:
            return session.scalars(wanted.limit(limit)).all()

    def purge(self, days: float) -> int:
        """Deletes what is older than so many days, and says how many; feedback stays."""
        before = now() - timedelta(days=days)
        old = select(LoggedRequest.answer_id).where(LoggedRequest.started < before).limit(_PURGED_AT_ONCE)
        purged = 0
        while True:
            with self._database.write() as session:
                ids = session.scalars(old).all()
                session.execute(delete(LoggedRequest).where(LoggedRequest.answer_id.in_(ids)))
            purged += len(ids)
            if len(ids) < _PURGED_AT_ONCE:
                return purged
