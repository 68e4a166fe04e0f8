"""The schema told to people: one line per key, for `hanji VERB --help` and for docs/reference/recipe.md."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, Field, create_model

from hanji.contracts.registry import Registry
from hanji.methods import METHODS
from hanji.objectives import OBJECTIVES
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


def options_of(registry: Registry, name: str) -> list[Key]:
    """The options of an objective or a method, as its class tells them; imports it, and with it torch."""
    made = registry.load(name)
    hints = get_type_hints(made.__init__)
    said: dict[str, str] = {}
    options = {
        option: parameter
        for option, parameter in inspect.signature(made).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    for parent in reversed(inspect.getmro(made)):
        said |= _said_of_arguments(parent, options)
    fields: dict[str, Any] = {
        option: (
            hints.get(option, Any),
            Field(
                ... if parameter.default is parameter.empty else parameter.default,
                description=said.get(option, ""),
            ),
        )
        for option, parameter in options.items()
    }
    return keys_of(create_model(name, **fields))


def _said_of_arguments(made: type, options: Iterable[str]) -> dict[str, str]:
    """What the `Args:` block of a class says of each option; a line may hold several of them."""
    _, begins, rest = _plain_docstring(made).partition("\nArgs:\n")
    names = "|".join(map(re.escape, options))
    if not begins or not names:
        return {}
    block = " ".join(re.split(r"\n(?=\S)|\n\n", rest)[0].split())
    heads = list(re.finditer(rf"(?:^|(?<=[.;] ))((?:{names})(?:, (?:{names}))*): ", block))
    ends = [head.start() for head in heads[1:]] + [len(block)]
    return {
        option: block[head.end() : end].strip()
        for head, end in zip(heads, ends, strict=True)
        for option in head[1].split(", ")
    }


def _plain_docstring(made: type) -> str:
    """Of the class itself, not of one that it inherits from; without the indentation of its code."""
    return inspect.cleandoc(vars(made).get("__doc__") or "")


def markdown() -> str:
    """The whole reference of recipes, for docs/reference/recipe.md."""
    parts = [_INTRODUCTION, _section("Recipe", first_line(Recipe), keys_of(Recipe))]
    parts += [
        _section(f"kind: {kind}", first_line(stage), keys_of(stage), after=_OPTIONS_ELSEWHERE.get(kind, ""))
        for kind, stage in STAGES.items()
    ]
    parts += [_OBJECTIVES, *(_registered(OBJECTIVES, name) for name in OBJECTIVES)]
    parts += [_METHODS, *(_registered(METHODS, name) for name in METHODS)]
    parts.append("## Mappings inside\n")
    parts += [_section(title, first_line(part), keys_of(part), level=3) for title, part in _INSIDE.items()]
    return "\n".join(parts)


def _registered(registry: Registry, name: str) -> str:
    """The section of an objective or a method: what it is, what it takes, its options."""
    made = registry.load(name)
    prose = re.split(r"\n(?:Args|Raises|Attributes):\n", _plain_docstring(made))[0].strip()
    facts = _about_objective(made) if registry is OBJECTIVES else _about_method(made)
    return _section(f"`{name}`", f"{prose}\n\n{facts}", options_of(registry, name), level=3)


def _about_objective(made: Any) -> str:
    first, *others = made.overlong
    more = f" (or {', '.join(f'`{other}`' for other in others)})" if others else ""
    return f"Rows: `{made.rows}`. The model ends in: {_HEADS[made.head]}. Rows too long: `{first}`{more}."


def _about_method(made: Any) -> str:
    saved = "what was learned, beside its base model" if made.adds else "a whole model"
    return f"Saved: {saved}{'; with `merge: true`, a whole model' if made.merges else ''}."


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


_HEADS: Final = {
    "causal": "the next token",
    "masked": "hidden tokens",
    "pretraining": "hidden tokens, and how two texts stand to each other",
    "classification": "scores of a whole document",
}

_OPTIONS_ELSEWHERE: Final = {
    "pretrain": "Options: [objectives](#objectives).\n",
    "finetune": "Options: [objectives](#objectives), [methods](#methods).\n",
    "compare": "Options: [objectives](#objectives), [methods](#methods).\n",
}

_OBJECTIVES: Final = """## Objectives

What is minimised. `objective: mlm` takes the defaults; a mapping of the name and options changes them:
`objective: {name: mlm, mask_rate: 0.3}`.
"""

_METHODS: Final = """## Methods

Which parameters learn. `method: lora` takes the defaults; a mapping of the name and options changes them:
`method: {name: lora, rank: 8}`.
"""


def _section(title: str, about: str, keys: Iterable[Key], level: int = 2, after: str = "") -> str:
    lines = ["#" * level + f" {title}", "", about, ""]
    rows = [_row(key) for key in keys]
    if rows:
        lines += ["| key | value | default | meaning |", "|---|---|---|---|", *rows]
    else:
        lines.append("No options.")
    return "\n".join([*lines, *(["", after.rstrip()] if after else [])]) + "\n"


def _row(key: Key) -> str:
    default = "**required**" if key.default is None else f"`{key.default}`" if key.default else "empty"
    return (
        f"| `{key.path}` | {_escape(key.type)} | {default.replace('`–`', '–')} | {_escape(key.description)} |"
    )


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(markdown(), end="")
