"""The schema told to people: one line per key, for `hanji VERB --help` and for docs/reference/recipe.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from hanji.recipes.fields import MethodSettings, Mix, Source, Trial
from hanji.recipes.schema import STAGES, Recipe

_BOUNDS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_NAMES: Final = {"integer": "whole number", "number": "number", "string": "text", "object": "mapping"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a recipe.

    Attributes:
        path: dotted, as in overrides.
        type: what may stand there, in words.
        default: as YAML writes it; None where the key must be given.
        description: what it means.
    """

    path: str
    type: str
    default: str | None
    description: str


def keys_of(schema: type[BaseModel]) -> list[Key]:
    """Every key that a mapping of this kind may hold, the keys of mappings within it too."""
    whole = schema.model_json_schema()
    return list(_keys(whole, whole.get("$defs", {}), ""))


def _keys(schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str) -> Iterator[Key]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        inner = _mapping_within(field, definitions)
        if inner is not None:
            yield from _keys(inner, definitions, f"{prefix}{name}.")
            continue
        default = None if name in required else _yaml(field.get("default"))
        description = " ".join(field.get("description", "").split())
        yield Key(prefix + name, _type(field, definitions), default, description)


def _mapping_within(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of a nested mapping of fixed keys, where the field is one and nothing else."""
    reference = field.get("$ref")
    found = definitions[reference.rpartition("/")[2]] if reference else field
    return found if found.get("properties") else None


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in field:
        inner = definitions[field["$ref"].rpartition("/")[2]]
        first, *others = inner["properties"]
        return f"{{{first}, …}}" if others else f"{{{first}}}"
    if "anyOf" in field:
        words = [_type(option, definitions) for option in field["anyOf"] if option.get("type") != "null"]
        return " | ".join(dict.fromkeys(words))
    if "const" in field:
        return str(field["const"])
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    kind = field.get("type", "")
    if kind == "boolean":
        return "true | false"
    if kind == "array":
        if "prefixItems" in field:
            return "[" + ", ".join(_type(item, definitions) for item in field["prefixItems"]) + "]"
        return f"list of {_type(field['items'], definitions)}"
    bounds = [f"{sign} {field[bound]:,}" for bound, sign in _BOUNDS.items() if bound in field]
    return " ".join([_NAMES.get(kind, kind), ", ".join(bounds)]).strip()


def _yaml(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict) and list(value) == ["name"]:  # the short form of a mapping with options
        return str(value["name"])
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def first_line(schema: type[BaseModel]) -> str:
    """What a part of a recipe is for, in a sentence."""
    return " ".join((schema.__doc__ or "").split("\n\n")[0].split())


def markdown() -> str:
    """The whole reference of recipes, for docs/reference/recipe.md."""
    parts = [_INTRODUCTION, _section("Recipe", Recipe)]
    parts += [_section(f"kind: {kind}", stage) for kind, stage in STAGES.items()]
    parts.append("## Mappings inside\n")
    parts += [_section(title, part, level=3) for title, part in _INSIDE.items()]
    return "\n".join(parts)


_INSIDE: Final[Mapping[str, type[BaseModel]]] = {
    "An item of source": Source,
    "An item of data": Mix,
    "method": MethodSettings,
    "An item of methods": Trial,
}

_INTRODUCTION: Final = """# Recipes

This page is made from the schema (`python -m hanji.recipes.reference`), as is `hanji VERB --help`.
A recipe is YAML 1.2: `3e-3` is a number, `no` is a word, and a key that stands twice is an error.
Where a key has no default it must be given; `–` stands for "none". Paths are relative to the directory in
which `hanji` is started. On the command line, `STAGE.KEY=VALUE` replaces what a recipe says
(`base.train.steps=100`), `null` takes it back, and saying one of `tokens`, `epochs`, `steps` takes the other
two back.
"""


def _section(title: str, schema: type[BaseModel], level: int = 2) -> str:
    lines = ["#" * level + f" {title}", "", first_line(schema), "", "| key | value | default | meaning |"]
    lines.append("|---|---|---|---|")
    for key in keys_of(schema):
        default = "**required**" if key.default is None else f"`{key.default}`" if key.default else "empty"
        kind = key.type.replace("|", "\\|")
        lines.append(
            f"| `{key.path}` | {kind} | {default.replace('`–`', '–')} | {_escape(key.description)} |"
        )
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(markdown(), end="")
