"""Errors that a person can act on: what is wrong, where, what is allowed, what to do next."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_ABSENT: Final = object()
_SHOWN_VALUE_CHARACTERS: Final = 200


class HanjiError(Exception):
    """A mistake that the user can mend; the command line prints it without a traceback.

    `str(error)` holds every part on a line of its own, so that it reads well in a log too.

    Args:
        problem: one sentence saying what is wrong.
        where: the file, line and field, as `recipe.yaml: base.train.learning_rate`.
        value: the value found there.
        expected: what is allowed.
        hint: what to do next.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        value: object = _ABSENT,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.problem = problem
        self.where = where
        self.value = None if value is _ABSENT else _shorten(repr(value))
        self.expected = expected
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        named = (("where", self.where), ("value", self.value), ("expected", self.expected), ("do", self.hint))
        return "\n".join([self.problem, *(f"  {name}: {text}" for name, text in named if text)])


class ConfigError(HanjiError):
    """A recipe, an override or a command line that says something impossible."""

    exit_code = 2


class DataError(HanjiError):
    """A source, a row or a chat that cannot be read as what it claims to be."""


class ModelError(HanjiError):
    """A model or tokenizer that cannot be found, loaded, or used for what was asked."""


class ArtifactError(HanjiError):
    """An artifact that is missing, incomplete, or does not match its checksums."""


class ResourceError(HanjiError):
    """Memory, disk or a device that is not enough for what was asked."""


class TrainingError(HanjiError):
    """A run that cannot go on: a loss that is not finite, a checkpoint that cannot be used."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, for a "did you mean" hint; None where nothing is near."""
    found = get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return found[0] if found else None


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_VALUE_CHARACTERS else text[: _SHOWN_VALUE_CHARACTERS - 1] + "…"
