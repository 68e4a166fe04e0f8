"""API keys: who may use the service, and how much at once. A token itself is never stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime
from threading import Lock
from typing import Final

from sqlalchemy import Index, bindparam, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from hanji.contracts.errors import ConfigError, nearest
from hanji.storage.database import Database
from hanji.storage.tables import Base, now

TOKEN_START: Final = "hanji-"
"""So that people, and scanners of leaked secrets, see what it is."""
_RANDOM_BYTES: Final = 32
_TOKEN_CHARACTERS: Final = len(TOKEN_START) + 43  # base64 of so many bytes
_SHOWN_CHARACTERS: Final = len(TOKEN_START) + 6
_GOOD: Final = text("revoked IS NULL")
_NAME: Final = re.compile(r"[^\W\d_][\w.\-]{0,63}")


class ApiKey(Base):
    """A key.

    Attributes:
        id: its number. `name`: unique among the keys that are not revoked.
        prefix: how the token begins, for people to tell tokens apart.
        sha256: of the token, in hexadecimal; 256 random bits need no salt and no slow hash.
        requests_per_minute, concurrent: the most that are served to it; None: any number.
        last_used: to about a minute, see `Keys.write_last_used`.
        revoked: when it ceased to be good for anything.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("uq_api_keys_name", "name", unique=True, sqlite_where=_GOOD, postgresql_where=_GOOD),
    )

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str]
    prefix: Mapped[str]
    sha256: Mapped[str] = mapped_column(unique=True, repr=False)
    requests_per_minute: Mapped[int | None] = mapped_column(default=None)
    concurrent: Mapped[int | None] = mapped_column(default=None)
    created: Mapped[datetime] = mapped_column(default_factory=now)
    last_used: Mapped[datetime | None] = mapped_column(default=None)
    revoked: Mapped[datetime | None] = mapped_column(default=None)


_BY_SHA256: Final = select(ApiKey).where(ApiKey.sha256 == bindparam("sha256"))
"""Built once: every request asks it."""


class Keys:
    """The keys of a database. One object serves all threads of a server."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[int, datetime] = {}
        self._lock = Lock()

    def create(
        self, name: str, *, requests_per_minute: int | None = None, concurrent: int | None = None
    ) -> tuple[ApiKey, str]:
        """A new key and its token, which cannot be had again.

        Raises:
            ConfigError: no name for a key, or a key that is good is called so; a limit below 1.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(
                "This cannot be the name of a key",
                value=name,
                expected="letters, digits, _, - and . , beginning with a letter, at most 64",
            )
        for limit, value in (("requests_per_minute", requests_per_minute), ("concurrent", concurrent)):
            if value is not None and value < 1:
                raise ConfigError("A key that allows nothing", where=limit, value=value, expected="1 or more")
        token = TOKEN_START + secrets.token_urlsafe(_RANDOM_BYTES)
        key = ApiKey(
            name=name, prefix=token[:_SHOWN_CHARACTERS], sha256=_sha256(token),
            requests_per_minute=requests_per_minute, concurrent=concurrent,
        )  # fmt: skip
        with self._database.write() as session:
            session.add(key)
            try:
                session.flush()
            except IntegrityError:
                raise ConfigError(
                    "There is such a key already",
                    value=name,
                    hint=f"another name, or hanji keys revoke {name}",
                ) from None
        return key, token

    def check(self, token: str) -> ApiKey | None:
        """The key that a token belongs to; None where there is none, or it is revoked.

        One look-up by the hash, and nothing is written. What does not look like a token asks no database.
        """
        if len(token) != _TOKEN_CHARACTERS or not token.startswith(TOKEN_START):
            return None
        sha256 = _sha256(token)
        with self._database.read() as session:
            key = session.scalar(_BY_SHA256, {"sha256": sha256})
        if key is None or not hmac.compare_digest(key.sha256, sha256) or key.revoked is not None:
            return None
        with self._lock:
            self._used[key.id] = now()
        return key

    def write_last_used(self) -> None:
        """Writes when keys were last used, all at once: for a server to call each minute, and at its end.

        Raises:
            StorageError: the database fails; the next call writes it then.
        """
        with self._lock:
            used = dict(self._used)
        if not used:
            return
        with self._database.write() as session:
            for key_id, moment in sorted(used.items()):
                earlier = or_(ApiKey.last_used.is_(None), ApiKey.last_used < moment)
                session.execute(
                    update(ApiKey).where(ApiKey.id == key_id, earlier).values(last_used=moment),
                    execution_options={"synchronize_session": False},
                )
        with self._lock:
            self._used = {key: moment for key, moment in self._used.items() if used.get(key) != moment}

    def all(self) -> list[ApiKey]:
        """Every key, revoked ones too, oldest first."""
        with self._database.read() as session:
            return list(session.scalars(select(ApiKey).order_by(ApiKey.id)))

    def revoke(self, name_or_id: str) -> ApiKey:
        """Makes a key good for nothing, from the next request on.

        Raises:
            ConfigError: no key that is good is called so.
        """
        with self._database.write() as session:
            key = _good_key(session, name_or_id)
            key.revoked = now()
        return key


def _good_key(session: Session, name_or_id: str) -> ApiKey:
    good = {key.name: key for key in session.scalars(select(ApiKey).where(ApiKey.revoked.is_(None)))}
    for key in good.values():
        if name_or_id in (key.name, str(key.id)):
            return key
    near = nearest(name_or_id, good)
    raise ConfigError(
        "There is no such key, or it is revoked already",
        value=name_or_id,
        expected=", ".join(good) or "a key; there is none",
        hint=f"did you mean {near}?" if near else "hanji keys list",
    )


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
