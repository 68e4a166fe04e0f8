"""Fields that chats and completions share: how an answer is drawn, when it ends, how it comes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from hanji.serving.bodies.body import Body

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
StopString = Annotated[str, StringConstraints(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
_Form = Annotated[str, StringConstraints(min_length=1, max_length=2**16)]
_Choice = Annotated[str, StringConstraints(min_length=1, max_length=1024)]

COMPLETION_TOKENS = 16
"""Longest completion if nothing is said, as OpenAI has it."""


class StreamOptions(Body):
    """Attributes:
    include_usage: whether the last event tells the tokens.
    include_obfuscation: must be off: events are not padded.
    """

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class StructuredOutputs(Body):
    """What an answer must keep to, as vLLM names it: exactly one of these.

    Attributes:
        json_: a JSON schema, or its text.
        regex: a regular expression that the whole answer matches, as Rust's `regex` writes them.
        choice: the answers to choose from.
        grammar: in Lark, or in GBNF as vLLM's and llama.cpp's clients write it.
    """

    json_: Annotated[_Form | dict[str, Any] | None, Field(alias="json")] = None
    regex: _Form | None = None
    choice: Annotated[list[_Choice], Field(min_length=1, max_length=1024)] | None = None
    grammar: _Form | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_one(cls, value: Any) -> Any:
        if isinstance(value, dict):
            given = [name for name, form in value.items() if form is not None]
            if len(given) != 1 or given[0] not in ("json", "regex", "choice", "grammar"):
                raise PydanticCustomError(
                    "one_form", "exactly one of `json`, `regex`, `choice` and `grammar` is taken"
                )
        return value


class Generating(Body):
    """Sampling as OpenAI names it, and what others added: `top_k`, `min_p`, `repetition_penalty`,
    `stop_token_ids`, `ignore_eos`, `structured_outputs`. A field that is null has its default."""

    model: Name
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: (
        Annotated[
            dict[
                Annotated[str, StringConstraints(pattern=r"^\d{1,9}$")],
                Annotated[float, Field(ge=-100, le=100)],
            ],
            Field(max_length=300),
        ]
        | None
    ) = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=16)] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    ignore_eos: bool | None = None
    structured_outputs: StructuredOutputs | None = None
    user: Annotated[str, StringConstraints(max_length=512)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end an answer."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)
