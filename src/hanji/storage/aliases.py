"""Aliases: the names that clients know, and which artifact each stands for, now and before."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from sqlalchemy import Index, Select, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from hanji.contracts.errors import ConfigError, nearest
from hanji.storage.database import Database
from hanji.storage.tables import Base, now

_NAME: Final = re.compile(r"\w[\w.\-]{0,63}")
_REFERENCE: Final = re.compile(r"(?:\w[\w.\-]*/){2}\w[\w.\-]*")


class Deployment(Base):
    """An alias came to stand for an artifact. None is ever deleted: they are the alias's history.

    The newest that was not rolled back is the one in use.

    Attributes:
        alias: the name that clients use.
        artifact: `recipe/stage/fingerprint`, an immutable directory of the workspace.
        created: since when. `rolled_back`: until when, where it was taken back.
    """

    __tablename__ = "deployments"
    __table_args__ = (Index("ix_deployments_alias", "alias", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    alias: Mapped[str]
    artifact: Mapped[str]
    created: Mapped[datetime] = mapped_column(default_factory=now)
    rolled_back: Mapped[datetime | None] = mapped_column(default=None)


class Aliases:
    """The aliases of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> dict[str, Deployment]:
        """What each alias stands for, by alias: one question, to be asked often."""
        newest = select(func.max(Deployment.id)).where(Deployment.rolled_back.is_(None))
        with self._database.read() as session:
            found = session.scalars(
                select(Deployment)
                .where(Deployment.id.in_(newest.group_by(Deployment.alias)))
                .order_by(Deployment.alias)
            )
            return {deployment.alias: deployment for deployment in found}

    def deploy(self, alias: str, artifact: str) -> Deployment:
        """Makes `alias` stand for `artifact`; where it does so already, nothing changes.

        Args:
            artifact: `recipe/stage/fingerprint`.

        Raises:
            ConfigError: this cannot be an alias.
        """
        if not _NAME.fullmatch(alias):
            raise ConfigError(
                "This cannot be an alias",
                value=alias,
                expected="letters, digits, _, - and . , beginning with a letter or digit, at most 64",
            )
        assert _REFERENCE.fullmatch(artifact), f"not recipe/stage/fingerprint: {artifact}"
        with self._database.write() as session:
            in_use = next(iter(_standing(session, alias)), None)
            if in_use is not None and in_use.artifact == artifact:
                return in_use
            deployment = Deployment(alias=alias, artifact=artifact)
            session.add(deployment)
        return deployment

    def rollback(self, alias: str) -> Deployment:
        """Makes `alias` stand for what it stood for before, and returns that. Twice: for what was before it.

        Raises:
            ConfigError: there is no such alias, or nothing was before.
        """
        with self._database.write() as session:
            standing = _standing(session, alias)
            if not standing:
                raise self._unknown(alias, session)
            if len(standing) == 1:
                raise ConfigError(
                    "There is nothing to roll back to",
                    value=alias,
                    expected=f"an alias that stood for something before {standing[0].artifact}",
                )
            standing[0].rolled_back = now()
        return standing[1]

    def history(self, alias: str) -> list[Deployment]:
        """All that an alias ever stood for, newest first, what was rolled back too.

        Raises:
            ConfigError: there is no such alias.
        """
        with self._database.read() as session:
            found = list(session.scalars(_of(alias)))
            if not found:
                raise self._unknown(alias, session)
        return found

    def _unknown(self, alias: str, session: Session) -> ConfigError:
        known = sorted(session.scalars(select(Deployment.alias).distinct()))
        near = nearest(alias, known)
        return ConfigError(
            "There is no such alias",
            value=alias,
            expected=", ".join(known) or "an alias; nothing is deployed",
            hint=f"did you mean {near}?" if near else f"hanji deploy NAME --as {alias}",
        )


def _of(alias: str) -> Select[Deployment]:
    return select(Deployment).where(Deployment.alias == alias).order_by(Deployment.id.desc())


def _standing(session: Session, alias: str) -> list[Deployment]:
    """What was not rolled back, newest first; locked against others who would change it."""
    wanted = _of(alias).where(Deployment.rolled_back.is_(None))
    return list(session.scalars(wanted.with_for_update()))
