"""The body of `/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from hanji.serving.bodies.body import Body
from hanji.serving.bodies.generation import Count, Generating

_Short = Annotated[str, StringConstraints(max_length=256)]
_ONE_TEXT = "a model here reads and writes text"


class TextPart(Body):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class FunctionCall(Body):
    """What was called: `arguments` is a JSON object, as text or as it is."""

    name: _Short
    arguments: str | dict[str, Any]


class ToolCall(Body):
    """A call that the assistant made."""

    id: _Short | None = None
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Body):
    """A message. What OpenAI's answers hold besides may be sent back where it is empty."""

    why_not: ClassVar[Mapping[str, str]] = {"audio": _ONE_TEXT}

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: _Short | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    tool_call_id: _Short | None = None
    reasoning_content: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None


class Function(Body):
    """A function that the model may call."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: Literal[False] | None = None


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    """A function, by its name."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class NamedTool(Body):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Body):
    """The schema of an answer; it is always kept to, `strict` or not."""

    name: _Short | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Body):
    """What an answer may be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatBody(Generating):
    """A chat to be continued."""

    why_not: ClassVar[Mapping[str, str]] = {
        "audio": _ONE_TEXT,
        "modalities": _ONE_TEXT,
        "functions": "use `tools`",
        "function_call": "use `tool_choice`",
        "prediction": "answers are not predicted",
        "reasoning_effort": "models here have no such setting",
        "verbosity": "models here have no such setting",
        "web_search_options": "there is no search",
        "store": "what is kept is the server's choice: hanji serve --log-requests",
        "metadata": "nothing would keep it",
        "service_tier": "there is one tier",
        "safety_identifier": "send `user`",
        "prompt_cache_key": "shared beginnings of prompts are found without it",
        "prompt_cache_retention": "shared beginnings of prompts are kept while there is memory",
    }

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: Literal[False] | None = None
    audio: None = None
    functions: None = None
    function_call: None = None
    prediction: None = None
    reasoning_effort: None = None
    verbosity: None = None
    web_search_options: None = None
    metadata: None = None
    safety_identifier: None = None
    prompt_cache_key: None = None
    prompt_cache_retention: None = None
