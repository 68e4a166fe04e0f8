"""What an answer must keep to: a schema, a regular expression, choices, a grammar, calls of tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from pydantic_core import from_json
from torch import Tensor

from hanji.contracts.errors import HanjiError
from hanji.generation.requests import Constraint, Request
from hanji.serving.bodies.chat import ResponseFormat, Tool
from hanji.serving.bodies.generation import StructuredOutputs
from hanji.serving.errors import invalid, refused
from hanji.serving.models import Served
from hanji.serving.tools import call_grammar, defines_calls

_CONSTRAINTS: Final = "hanji.generation.constraints"
_HINT: Final = "pip install 'hanji[constraints]'"
_RESPONSE_FORMAT: Final = "response_format.json_schema.schema"
_SCHEMA_DEPTH: Final = 64
_LEVELS: Final = 1000
"""llguidance enters what is nested on its thread's stack, references and rules included: from about 1,500
levels on, the whole process ends."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form that was asked for; a `Constraint`.

    Attributes:
        param: the field that says it, for messages.
        own: ours. Where another engine draws the tokens it watches: an engine that leaves the form fails,
            rather than being believed.
        schema, lark: one of them, for an engine that keeps to the form itself by llguidance.
    """

    param: str
    own: Constraint
    schema: Mapping[str, Any] | None = None
    lark: str = ""

    def allowed(self) -> Tensor:
        """See `Constraint`."""
        return self.own.allowed()

    def accept(self, token: int) -> None:
        """See `Constraint`."""
        self.own.accept(token)


def form_of(request: Request) -> Form | None:
    """The form of an answer, or None."""
    constraint = request.constraint
    assert constraint is None or isinstance(constraint, Form), "a constraint of another engine"
    return constraint


def schema_of(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    """The JSON schema that an answer must keep to, or None for any text.

    Raises:
        ApiError: there is none where there must be one.
    """
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "object"}
    schema = wanted.json_schema.schema_ if wanted.json_schema is not None else None
    if schema is None:
        raise invalid("A schema is wanted", _RESPONSE_FORMAT)
    return schema


def json_form(served: Served, schema: dict[str, Any], param: str = _RESPONSE_FORMAT) -> Form:
    """What keeps an answer to a schema.

    Args:
        param: the field that says it.

    Raises:
        ApiError: it is nested too deep, or nothing here can keep to it.
    """
    _check_schema(schema, param)
    own = _kept(served, lambda constraints: constraints.json_schema(served.tokenizer, schema), param)
    return Form(param, own, schema=schema)


def structured_form(served: Served, wanted: StructuredOutputs) -> Form:
    """What keeps an answer to `structured_outputs`.

    Raises:
        ApiError: it is too large, or nothing here can keep to it.
    """
    tokenizer = served.tokenizer
    if wanted.json_ is not None:
        return json_form(served, _read_schema(wanted.json_), "structured_outputs.json")
    if wanted.regex is not None:
        pattern, param = wanted.regex, "structured_outputs.regex"
        own = _kept(served, lambda constraints: constraints.regex(tokenizer, pattern), param)
        return Form(param, own, lark=_made(lambda constraints: constraints.lark_of_regex(pattern), param))
    if wanted.choice is not None:
        param, lark = "structured_outputs.choice", _lark_of_choices(wanted.choice)
    else:
        assert wanted.grammar is not None, "a body has one of them"
        param, lark = "structured_outputs.grammar", _read_grammar(wanted.grammar)
    own = _kept(served, lambda constraints: constraints.lark(tokenizer, lark), param)
    return Form(param, own, lark=lark)


def call_form(served: Served, tools: Sequence[Tool], *, most: int | None) -> Form:
    """What has an answer call one of these tools, or several, and say nothing else.

    Args:
        most: 1, or None for any number.

    Raises:
        ApiError: nothing here can force a call, or the parameters of a tool cannot be kept to.
    """
    if not defines_calls(served.tokenizer.chat_template):
        raise invalid("This model's chat template does not say how a call is written", "tool_choice")
    if served.engine != "hanji":
        raise invalid(f"The engine {served.engine} cannot force a call", "tool_choice")
    _check_schema([tool.function.parameters for tool in tools], "tools")
    lark = call_grammar([(tool.function.name, tool.function.parameters) for tool in tools], most)
    own = _made(lambda constraints: constraints.lark(served.tokenizer, lark), "tools", "tool_choice")
    return Form("tools", own)


def _kept(served: Served, make: Callable[[Any], Constraint], param: str) -> Constraint:
    """A constraint; where no answer can begin, another engine would write one nevertheless."""

    def begun(constraints: Any) -> Constraint:
        own = make(constraints)
        if served.engine != "hanji":
            own.allowed()
        return own

    own: Constraint = _made(begun, param)
    return own


def _made(make: Callable[[Any], Any], param: str, asked: str | None = None) -> Any:
    """What `generation.constraints` makes.

    Args:
        param: the field that it is made from.
        asked: the one that asks for it, where that is another.
    """
    try:
        return make(import_module(_CONSTRAINTS))
    except ImportError:
        raise invalid(
            f"This service cannot keep answers to a form: {_HINT}", asked or param.partition(".")[0],
            "unsupported_parameter",
        ) from None  # fmt: skip
    except HanjiError as error:
        raise refused(error, param) from None


def _lark_of_choices(choices: Sequence[str]) -> str:
    """As one terminal: rules may not have as many alternatives."""
    return f"start: CHOICE\nCHOICE: {' | '.join(map(json.dumps, choices))}\n"


def _read_grammar(grammar: str) -> str:
    param = "structured_outputs.grammar"
    if sum(map(grammar.count, "\n([{")) > _LEVELS:
        raise invalid(
            f"The grammar is too large: at most {_LEVELS} lines and brackets together are taken", param
        )
    lark: str = _made(lambda constraints: constraints.lark_of(grammar), param)
    return lark


def _read_schema(schema: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema, dict):
        return schema
    try:
        read = from_json(schema)
    except ValueError as error:
        raise invalid(f"The schema is no JSON: {error}", "structured_outputs.json") from None
    if not isinstance(read, dict):
        raise invalid("The schema is no JSON object", "structured_outputs.json")
    return read


def _check_schema(schema: dict[str, Any] | list[Any], param: str) -> None:
    depths: dict[int, int] = {}
    if _depth(schema, depths) > _SCHEMA_DEPTH:
        raise invalid(f"The schema is nested more than {_SCHEMA_DEPTH} deep", param)
    levels = sum(depths[id(target)] for target in [schema, *_targets(schema)])
    if levels > _LEVELS:
        raise invalid(
            f"The schema and what its `$ref`s lead to are nested {levels} deep together; at most {_LEVELS}",
            param,
        )


def _depth(value: dict[str, Any] | list[Any], depths: dict[int, int]) -> int:
    """How deep it is nested; `depths` is told this of everything in it, by `id`."""
    inner = [_depth(one, depths) for one in _items(value) if isinstance(one, dict | list)]
    depths[id(value)] = depth = 1 + max(inner, default=0)
    return depth


def _targets(schema: dict[str, Any] | list[Any]) -> list[Any]:
    """What the references in a schema lead to; the schema itself for one that cannot be followed here."""
    references: set[str] = set()
    left: list[Any] = [schema]
    while left:
        one = left.pop()
        left += [item for item in _items(one) if isinstance(item, dict | list)]
        if isinstance(one, dict) and isinstance(one.get("$ref"), str):
            references.add(one["$ref"])
    return [_target(schema, reference) for reference in references]


def _target(schema: dict[str, Any] | list[Any], reference: str) -> Any:
    found: Any = schema
    for part in reference.removeprefix("#").split("/")[1:]:
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
    return found if isinstance(found, dict | list) else schema


def _items(value: dict[str, Any] | list[Any]) -> Sequence[Any]:
    return list(value.values()) if isinstance(value, dict) else value
