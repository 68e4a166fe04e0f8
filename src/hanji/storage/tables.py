"""What all tables share: the base class, and columns that give back what they were given."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import JSON, DateTime, Dialect, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass
from sqlalchemy.types import TypeDecorator

_NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraints are called the same in every database, so that a migration can name them."""
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class Utc(TypeDecorator[datetime]):
    """A moment: stored in UTC, and given back aware of it, by databases without time zones too."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Before it is stored."""
        assert value is None or value.tzinfo is not None, "a moment needs its time zone"
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """After it was read."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class CleanText(TypeDecorator[str]):
    """Text of any origin: what no database stores (NUL, half of a surrogate pair) becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Before it is stored."""
        if value is None:
            return None
        whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return whole.replace("\0", _REPLACEMENT)


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """A table; its rows are given out as plain objects, which outlive the session that read them."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {datetime: Utc, str: CleanText, dict[str, Any]: JSON}  # noqa: RUF012


def now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(UTC)


def to_json(value: Any) -> str:
    """JSON that every database takes, whatever a client or a model wrote.

    Hangul stays as it is; half of a surrogate pair becomes an escape, and a number that is not finite null.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
