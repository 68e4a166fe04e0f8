"""A recipe as text: YAML 1.2 into plain values that remember their file and line, and dotted overrides."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from hanji.contracts.errors import ConfigError, nearest
from hanji.recipes.schema import RESERVED
from hanji.recipes.train import BUDGETS

Place = tuple[str | int, ...]
"""Where a value stands in a document: keys of mappings, positions in lists."""


@dataclass(frozen=True, slots=True)
class Document:
    """Plain values with their origins.

    Attributes:
        content: mappings, lists and scalars.
        origins: path of a value → where it was said, as `recipe.yaml:12` or `command line`.
        name: the file, for messages about the whole.
    """

    content: dict[str, Any]
    origins: dict[Place, str]
    name: str

    def where(self, path: Place) -> str:
        """File, line and dotted path, of the nearest place that was written."""
        place = path
        while place and place not in self.origins:
            place = place[:-1]
        origin = self.origins.get(place, self.name)
        return f"{origin}: {dotted(path)}" if path else origin

    def at(self, path: Place) -> Any:
        """The value at `path`; None where there is none."""
        value: Any = self.content
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def with_overrides(self, overrides: Sequence[str]) -> Document:
        """A copy in which every `dotted.path=value` holds; values are read as YAML.

        The path begins with a stage or with a key of the recipe. `null` takes a value back. Saying one of
        tokens, epochs, steps takes the others back.

        Raises:
            ConfigError: no `=`, no such stage, or a path through something that is no mapping.
        """
        changed = Document(copy.deepcopy(self.content), dict(self.origins), self.name)
        for override in overrides:
            key, equals, text = override.partition("=")
            if not equals or not key.strip():
                raise ConfigError(
                    "This is no override",
                    where="command line",
                    value=override,
                    expected="KEY=VALUE, as train.learning_rate=1e-3",
                )
            value = parse(text, f"command line: {key}").content_or_scalar
            changed._set(changed._steps(key.strip()), value, override)
        return changed

    def _steps(self, key: str) -> list[str | int]:
        steps: list[str | int] = [int(part) if part.isdecimal() else part for part in key.split(".")]
        stages = self.content.get("stages")
        if steps[0] in RESERVED or not isinstance(stages, dict):
            return steps
        if steps[0] not in stages:
            near = nearest(str(steps[0]), [*stages, *RESERVED])
            raise ConfigError(
                f"The recipe has no stage {steps[0]}, nor such a key of its own",
                where=f"command line: {key}",
                expected=", ".join([*stages, *RESERVED]),
                hint=f"did you mean {near}?" if near else None,
            )
        return ["stages", *steps]

    def _set(self, steps: list[str | int], value: Any, override: str) -> None:
        place: Any = self.content
        for depth, step in enumerate(steps[:-1]):
            if step == 0 and isinstance(place, dict):  # one item may stand without its list
                continue
            held = place[step] if holds(place, step) else None
            if held is None and isinstance(place, dict):
                place[step] = held = {}
            elif isinstance(held, str) and step == "method":
                place[step] = held = {"name": held}
            if not isinstance(held, dict | list):
                known = ", ".join(map(str, place)) if isinstance(place, dict) else f"{len(place)} items"
                raise ConfigError(
                    f"{dotted(tuple(steps[: depth + 1]))} holds nothing that can be overridden",
                    where=f"command line: {override}",
                    expected=f"one of {known}",
                )
            place = held
        last = steps[-1]
        if isinstance(place, list) != isinstance(last, int) or (
            isinstance(last, int) and not holds(place, last)
        ):
            found = f"a list of {len(place)} items" if isinstance(place, list) else "a mapping"
            raise ConfigError(
                f"{dotted(tuple(steps[:-1]))} is {found}",
                where=f"command line: {override}",
                value=last,
                expected="an item's position, from 0" if isinstance(place, list) else "a key",
            )
        if last in BUDGETS and value is not None and isinstance(place, dict):
            for other in BUDGETS:
                place.pop(other, None)
        place[last] = value
        self.origins[tuple(steps)] = "command line"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a YAML text says, whatever it is."""

    content_or_scalar: Any
    lines: dict[Place, int]


def read(path: Path) -> Document:
    """The recipe in a file.

    Raises:
        ConfigError: no such file, no YAML 1.2, duplicate keys, or no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            "There is no such recipe", where=str(path), hint="give the path of a YAML file"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("The recipe cannot be read", where=str(path), value=str(error)) from error
    parsed = parse(text, str(path))
    if not isinstance(parsed.content_or_scalar, dict):
        raise ConfigError(
            "A recipe is a mapping",
            where=str(path),
            value=parsed.content_or_scalar,
            expected="name: …, stages: …",
        )
    origins = {place: f"{path}:{line}" for place, line in parsed.lines.items()}
    return Document(parsed.content_or_scalar, origins, str(path))


def parse(text: str, name: str) -> Parsed:
    """YAML 1.2, in which `3e-3` is a number and `no` a word; tags and duplicate keys are refused.

    Raises:
        ConfigError: with the line.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        lines: dict[Place, int] = {}
        value = None if node is None else _build(yaml, node, (), lines, name, ())
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"This is no YAML: {error.problem}", where=f"{name}:{line}") from error
    except YAMLError as error:
        raise ConfigError(f"This is no YAML: {error}", where=name) from error
    return Parsed(value, lines)


def _build(
    yaml: YAML, node: Node, path: Place, lines: dict[Place, int], name: str, above: tuple[int, ...]
) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if id(node) in above:
        raise ConfigError("An alias stands inside of what it names", where=f"{name}:{line}")
    above = (*above, id(node))
    if isinstance(node, ScalarNode):
        return _scalar(yaml, node, f"{name}:{line}")
    if isinstance(node, SequenceNode):
        return [
            _build(yaml, item, (*path, index), lines, name, above) for index, item in enumerate(node.value)
        ]
    assert isinstance(node, MappingNode)
    mapping: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = _build(yaml, key_node, (), {}, name, above)
        here = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ConfigError(
                "A key must be text", where=f"{name}:{here}", value=key, hint="put it in quotes"
            )
        place = (*path, key)
        if key in mapping:
            raise ConfigError(
                f"The key {key} stands twice",
                where=f"{name}:{here}",
                hint=f"it stands in line {lines[place]} too",
            )
        lines[place] = here
        mapping[key] = _build(yaml, value_node, place, lines, name, above)
    return mapping


_SCALARS = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null")}
_TEXTS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "timestamp", "merge")}


def _scalar(yaml: YAML, node: ScalarNode, where: str) -> Any:
    if node.tag in _TEXTS:
        return node.value
    if node.tag not in _SCALARS:
        raise ConfigError("Tags are not understood", where=where, value=node.tag)
    return yaml.constructor.construct_object(node)


def holds(place: Any, step: str | int) -> bool:
    """Whether one step leads on from `place`."""
    if isinstance(place, list):
        return isinstance(step, int) and 0 <= step < len(place)
    return isinstance(place, dict) and step in place


def dotted(path: Place) -> str:
    """`base.train.tokens` for `("stages", "base", "train", "tokens")`: as overrides are written."""
    shown = path[1:] if len(path) > 1 and path[0] == "stages" else path
    return ".".join(str(step) for step in shown)
