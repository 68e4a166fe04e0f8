"""From a body to what an engine is asked."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, TypeVar

from hanji.contracts.errors import HanjiError
from hanji.contracts.random_keys import mix
from hanji.generation.requests import Constraint, Request
from hanji.generation.sampling import Sampling
from hanji.serving.bodies.chat import ResponseFormat, Tool
from hanji.serving.bodies.generation import Generating
from hanji.serving.engines.writing import JsonForm
from hanji.serving.errors import invalid, refused
from hanji.serving.models import Served
from hanji.serving.tools import call_grammar, defines_calls

Value = TypeVar("Value")
_CONSTRAINTS: Final = "hanji.generation.constraints"
_HINT: Final = "pip install 'hanji[constraints]'"
_SCHEMA_DEPTH: Final = 64


def requests_of(
    body: Generating,
    served: Served,
    prompt: Sequence[int],
    *,
    index: int,
    max_new_tokens: int,
    logprobs: int | None,
    prompt_logprobs: int | None = None,
    form: Callable[[], Constraint] | None = None,
) -> list[Request]:
    """`n` requests for one prompt, each with a seed of its own.

    Args:
        index: of the prompt among the prompts of the request.
        form: makes what an answer must keep to.

    Raises:
        ApiError: a token that the model does not have, or a form that cannot be kept to.
    """
    n, vocabulary = body.n or 1, served.vocabulary
    bias = {int(token): value for token, value in (body.logit_bias or {}).items()}
    for param, tokens in (("logit_bias", bias), ("stop_token_ids", body.stop_token_ids or ())):
        if any(token >= vocabulary for token in tokens):
            raise invalid(f"`{param}`: token ids are from 0 to {vocabulary - 1}", param)
    seed = body.seed if body.seed is not None else secrets.randbits(62)
    ends = [] if body.ignore_eos else served.tokenizer.eos_ids
    return [
        Request(
            prompt=prompt,
            sampling=Sampling(
                temperature=_or(body.temperature, 1.0), top_p=_or(body.top_p, 1.0),
                top_k=max(_or(body.top_k, 0), 0), min_p=_or(body.min_p, 0.0),
                repetition_penalty=_or(body.repetition_penalty, 1.0),
                presence_penalty=_or(body.presence_penalty, 0.0),
                frequency_penalty=_or(body.frequency_penalty, 0.0),
                logit_bias=bias, seed=int(mix(seed, index * n + choice)),
            ),
            max_new_tokens=max_new_tokens,
            stop_ids=[*ends, *(body.stop_token_ids or ())],
            stop=body.stops,
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            constraint=None if form is None else form(),
        )
        for choice in range(n)
    ]  # fmt: skip


def schema_of(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    """The JSON schema that an answer must keep to, or None for any text.

    Raises:
        ApiError: none where there must be one, or one nested too deep.
    """
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "object"}
    schema = wanted.json_schema.schema_ if wanted.json_schema is not None else None
    if schema is None:
        raise invalid("A schema is wanted", "response_format.json_schema.schema")
    if _depth(schema) > _SCHEMA_DEPTH:
        raise invalid(
            f"The schema is nested more than {_SCHEMA_DEPTH} deep", "response_format.json_schema.schema"
        )
    return schema


def json_form(served: Served, schema: dict[str, Any]) -> Constraint:
    """What keeps an answer to a schema.

    Raises:
        ApiError: it is not installed, or cannot keep to this schema.
    """
    made = _form(
        lambda constraints: constraints.json_schema(served.tokenizer, schema),
        "response_format", "response_format.json_schema.schema",
    )  # fmt: skip
    return made if served.engine == "hanji" else JsonForm(schema, made)


def call_form(served: Served, tools: Sequence[Tool], *, most: int | None) -> Constraint:
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
    if any(_depth(tool.function.parameters) > _SCHEMA_DEPTH for tool in tools):
        raise invalid(f"Parameters are nested more than {_SCHEMA_DEPTH} deep", "tools")
    grammar = call_grammar([(tool.function.name, tool.function.parameters) for tool in tools], most)
    return _form(lambda constraints: constraints.lark(served.tokenizer, grammar), "tool_choice", "tools")


def _form(make: Callable[[Any], Constraint], asked: str, at: str) -> Constraint:
    """What `generation.constraints` makes; `asked` and `at` are fields, for messages."""
    try:
        return make(import_module(_CONSTRAINTS))
    except ImportError:
        raise invalid(
            f"This service cannot keep answers to a form: {_HINT}", asked, "unsupported_parameter"
        ) from None
    except HanjiError as error:
        raise refused(error, at) from None


def _depth(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, items), default=0)


def _or(value: Value | None, default: Value) -> Value:
    return default if value is None else value
