"""Feedback: what people thought of an answer, and what it should have been."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from hanji.contracts.errors import DataError
from hanji.storage.database import Database
from hanji.storage.tables import Base, now

Rating = Literal["up", "down"]
_LONGEST_ID_CHARACTERS: Final = 128


class Feedback(Base):
    """What somebody thought of an answer; the last word counts.

    Attributes:
        answer_id: the answer's id, as the client was given it.
        rating: thumb `up` or `down`.
        model: what the client called the model.
        comment: in free words. `corrected`: what the answer should have been.
        key_id: of the key that it came with, if any.
    """

    __tablename__ = "feedback"
    __table_args__ = (CheckConstraint("rating IN ('up', 'down')", name="rating"),)

    answer_id: Mapped[str] = mapped_column(primary_key=True)
    rating: Mapped[str]
    model: Mapped[str]
    comment: Mapped[str | None] = mapped_column(default=None, repr=False)
    corrected: Mapped[str | None] = mapped_column(default=None, repr=False)
    key_id: Mapped[int | None] = mapped_column(ForeignKey("api_keys.id"), default=None)
    created: Mapped[datetime] = mapped_column(default_factory=now, index=True)


class FeedbackBook:
    """The feedback of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give(self, feedback: Feedback) -> None:
        """Keeps it, in place of what was said about the same answer before.

        Raises:
            DataError: a rating that is neither `up` nor `down`, or an id too long to be ours.
        """
        if feedback.rating not in get_args(Rating):
            raise DataError("There is no such rating", value=feedback.rating, expected="up or down")
        if not 0 < len(feedback.answer_id) <= _LONGEST_ID_CHARACTERS:
            raise DataError(
                "This is no id of an answer",
                value=feedback.answer_id,
                expected=f"1 to {_LONGEST_ID_CHARACTERS} characters",
            )
        values = {name: getattr(feedback, name) for name in Feedback.__table__.columns.keys()}  # noqa: SIM118
        with self._database.write() as session:
            insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
            statement: Any = insert(Feedback).values(values)
            session.execute(statement.on_conflict_do_update(index_elements=["answer_id"], set_=values))

    def all(self, *, since: datetime | None = None) -> Sequence[Feedback]:
        """What was said, oldest first; of a moment or later where it is given."""
        wanted = select(Feedback).order_by(Feedback.created, Feedback.answer_id)
        if since is not None:
            wanted = wanted.where(Feedback.created >= since)
        with self._database.read() as session:
            return session.scalars(wanted).all()
