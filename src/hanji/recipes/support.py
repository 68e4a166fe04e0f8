"""The support matrix: which objective a kind of stage accepts; anything else is refused before a load."""

from __future__ import annotations

from typing import Any

from hanji import objectives
from hanji.contracts.errors import nearest

OBJECTIVES: dict[str, str] = getattr(objectives, "OBJECTIVES", {"clm": "", "sft": ""})

FROM_NOTHING = frozenset({"clm"})
"""Objectives that can train a blank model; every registered one can train a trained model further."""


def objectives_of(kind: str) -> list[str]:
    """Names of the objectives that a stage of this kind accepts."""
    return [name for name in OBJECTIVES if kind != "pretrain" or name in FROM_NOTHING]


def check_objective(kind: str, name: str) -> str:
    """`name`, if the cell (kind of stage, objective) is supported.

    Raises:
        ValueError: saying what is supported; pydantic adds where.
    """
    allowed = objectives_of(kind)
    if name in allowed:
        return name
    if name in OBJECTIVES:
        raise ValueError(f"{kind} does not support objective {name!r}; it supports {', '.join(allowed)}")
    near = nearest(name, allowed)
    raise ValueError(
        f"there is no objective {name!r}; {kind} supports {', '.join(allowed)}"
        + (f" (did you mean {near}?)" if near else "")
    )


def objective_schema(kind: str) -> dict[str, Any]:
    """The names for editors to offer."""
    return {"type": "string", "enum": objectives_of(kind)}
