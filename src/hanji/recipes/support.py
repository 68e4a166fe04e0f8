"""The support matrix: which objectives and methods a stage accepts; the rest is refused before a load."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from hanji.contracts.errors import nearest
from hanji.methods import METHODS
from hanji.objectives import OBJECTIVES

FROM_NOTHING = frozenset({"clm"})
"""Objectives that can train a blank model; every registered one can train a trained model further."""

_WITHOUT_OPTIONS = frozenset({"full"})
"""Methods whose options are known to be none, so that their code, which imports torch, can wait."""


def objectives_of(kind: str) -> list[str]:
    """Names of the objectives that a stage of this kind accepts."""
    return [name for name in OBJECTIVES if kind != "pretrain" or name in FROM_NOTHING]


def check_objective(kind: str, name: str) -> str:
    """`name`, if the cell (kind of stage, objective) is supported.

    Raises:
        ValueError: saying what is supported; the schema adds where.
    """
    allowed = objectives_of(kind)
    if name in OBJECTIVES and name not in allowed:
        raise ValueError(f"{kind} does not support {name}; it supports {', '.join(allowed)}")
    return _known("objective", name, allowed)


def check_method(name: str) -> str:
    """`name`, if it is a registered method.

    Raises:
        ValueError: saying which there are.
    """
    return _known("method", name, METHODS)


def check_method_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuses options that the method does not have.

    Raises:
        ValueError: naming the option and those that there are.
    """
    if not options:
        return
    known = [] if name in _WITHOUT_OPTIONS else [*inspect.signature(METHODS.load(name)).parameters]
    for option in options:
        if option not in known:
            near = nearest(option, known)
            raise ValueError(
                f"{name} has no option {option}; it has {', '.join(known) or 'none'}"
                + (f" (did you mean {near}?)" if near else "")
            )


def objective_schema(kind: str) -> dict[str, Any]:
    """The names for editors to offer."""
    return {"type": "string", "enum": objectives_of(kind)}


def method_schema() -> dict[str, Any]:
    """The names for editors to offer."""
    return {"type": "string", "enum": list(METHODS)}


def _known(what: str, name: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    if name in names:
        return name
    near = nearest(name, names)
    raise ValueError(
        f"there is no {what} {name}; there is {', '.join(names)}"
        + (f" (did you mean {near}?)" if near else "")
    )
