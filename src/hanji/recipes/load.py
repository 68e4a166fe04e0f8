"""From a document to a checked recipe; what is wrong is told with its file, line and field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hanji.contracts.errors import ConfigError, nearest
from hanji.recipes.document import Document, Place, dotted, holds, read
from hanji.recipes.schema import RESERVED, STAGES, Recipe

Where = Callable[[Place], str]
"""Tells where a place of a recipe was written: file, line and dotted path."""


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, Where]:
    """The recipe in a file, with overrides such as `base.train.learning_rate=1e-3`, and where it says what.

    Raises:
        ConfigError: unreadable, or saying something impossible.
    """
    document = read(path).with_overrides(overrides)
    return check(document), document.where


def one_stage(kind: str, overrides: Sequence[str]) -> tuple[Recipe, Where]:
    """A verb of the command line as a recipe of one stage: `model=… train.steps=10 name=my-chat seed=1`.

    The artifact is called `<kind>/<name>`; the name is the kind's, unless given.

    Raises:
        ConfigError: as `load_recipe`.
    """
    said = dict(Document({}, {}, "command line").with_overrides(overrides).content)
    shared: dict[str, Any] = {key: said.pop(key) for key in ("seed", "device") if key in said}
    name = str(said.pop("name", kind))
    content: dict[str, Any] = {"name": kind, **shared, "stages": {name: {"kind": kind, **said}}}
    recipe = check(Document(content, {}, "command line"), hidden=2)
    return recipe, lambda place: f"command line: {'.'.join(map(str, place[2:]))}"


def check(document: Document, *, hidden: int = 1) -> Recipe:
    """The document as a recipe.

    Args:
        document: what was written.
        hidden: steps of a path that its messages leave out: 1 hides `stages`, 2 the one stage of a verb too.

    Raises:
        ConfigError: about the first thing that is wrong, with the number of further ones.
    """
    for name in document.content.get("stages") or {}:
        if name in RESERVED:
            raise ConfigError(
                "A stage cannot be called like a key of the recipe",
                where=document.where(("stages", name)),
                value=name,
                expected=f"a name other than {', '.join(RESERVED)}",
            )
    try:
        return Recipe.model_validate(document.content)
    except ValidationError as error:
        details = error.errors(include_url=False)
        details.sort(key=lambda detail: detail["type"] != "extra_forbidden")  # a mistyped key is missing too
        raise _explain(document, details[0], len(details) - 1, hidden) from error


def _explain(document: Document, detail: ErrorDetails, others: int, hidden: int) -> ConfigError:
    place = _place(document.content, detail)
    where = document.where(place)
    if hidden == 2 and len(place) > 2:
        where = f"command line: {'.'.join(map(str, place[2:]))}"
    more = f"{others} more to mend" if others else None
    kind, context = detail["type"], detail.get("ctx", {})
    last = str(place[-1]) if place else "recipe"
    if kind == "extra_forbidden":
        return _unknown_key(document, place, where, more)
    if kind in ("missing", "union_tag_not_found"):
        absent = "kind" if kind == "union_tag_not_found" else last
        parent = place if kind == "union_tag_not_found" else place[:-1]
        owner = _schema_at(document.content, parent)
        meaning = owner.model_fields[absent].description if owner and absent in owner.model_fields else None
        expected = " | ".join(STAGES) if absent == "kind" else meaning
        return ConfigError(f"{absent} is missing", where=where, expected=expected, hint=more)
    value = document.at(place)
    if kind == "union_tag_invalid":
        found = value.get("kind") if isinstance(value, dict) else value
        near = nearest(str(found), STAGES)
        return ConfigError(
            "There is no such kind of stage",
            where=f"{where}.kind",
            value=found,
            expected=" | ".join(STAGES),
            hint=f"did you mean {near}?" if near else more,
        )
    if kind == "literal_error":
        allowed = str(context["expected"]).replace("'", "")
        near = nearest(str(value), allowed.replace(" or ", ", ").split(", "))
        return ConfigError(
            f"{last} cannot be this", where=where, value=value, expected=allowed, hint=_either(near, more)
        )
    if kind == "value_error":
        message = detail["msg"].removeprefix("Value error, ")
        return ConfigError(f"{last}: {message}", where=where, hint=more)
    return ConfigError(
        f"{last} cannot be this", where=where, value=value, expected=_lower(detail["msg"]), hint=more
    )


def _unknown_key(document: Document, place: Place, where: str, more: str | None) -> ConfigError:
    owner = _schema_at(document.content, place[:-1])
    assert owner is not None, f"unknown key in no mapping: {place}"
    unknown = str(place[-1])
    fields = list(owner.model_fields)
    right = nearest(unknown, fields)
    if right is None:  # perhaps it stands on the wrong level
        deeper = {path[-1]: ".".join(path) for path in dotted_fields(owner)}
        found = nearest(unknown, deeper)
        right = deeper[found] if found else None
    return ConfigError(
        f"There is no key {unknown} here",
        where=where,
        expected=", ".join(fields),
        hint=_either(right, more),
    )


def dotted_fields(schema: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """The paths of all fields of a schema, nested ones too, but not into lists."""
    for name, field in schema.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and field.metadata == []:
            yield from ((name, *rest) for rest in dotted_fields(inner))
        else:
            yield (name,)


def _either(near: str | None, more: str | None) -> str | None:
    parts = [f"did you mean {near}?" if near else None, more]
    return "; ".join(part for part in parts if part) or None


def _lower(message: str) -> str:
    text = message.removeprefix("Input should be ")
    return text[:1].lower() + text[1:]


def _place(content: Any, detail: ErrorDetails) -> Place:
    """pydantic's location without the names of union members and validators that it puts between."""
    place: list[str | int] = []
    value = content
    steps = detail["loc"]
    for index, step in enumerate(steps):
        if holds(value, step):
            value = value[step]
        elif not (index == len(steps) - 1 and detail["type"] in ("missing", "extra_forbidden")):
            continue
        place.append(step)
    return tuple(place)


def _schema_at(content: Any, place: Place) -> type[BaseModel] | None:
    """The settings class that a mapping of the document is checked by."""
    schema: type[BaseModel] | None = Recipe
    value = content
    for index, step in enumerate(place):
        value = value[step]
        if place[0] == "stages" and index == 1:
            schema = STAGES.get(str(value.get("kind"))) if isinstance(value, dict) else None
        elif isinstance(step, str) and schema is not None and step in schema.model_fields:
            schema = _model_in(schema.model_fields[step].annotation)
    return schema


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


__all__ = ["STAGES", "Where", "check", "dotted", "dotted_fields", "load_recipe", "one_stage"]
