"""Bodies of what a model reads only: embeddings, labels, scores, tokens; and of feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hanji.serving.bodies.body import Body
from hanji.serving.bodies.chat import Message, Tool
from hanji.serving.bodies.completion import Prompt
from hanji.serving.bodies.generation import Name, TokenId

_User = Annotated[str, StringConstraints(max_length=512)] | None
Texts = str | Annotated[list[str], Field(min_length=1)]


class EmbeddingBody(Body):
    """Texts, or their token ids, of which vectors are wanted."""

    model: Name
    input: Prompt
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: _User = None


class ClassifyBody(Body):
    """Texts to be labelled; `pair` has the second text of each, for models of pairs."""

    model: Name
    input: Texts
    pair: Texts | None = None
    user: _User = None


class ScoreBody(Body):
    """Answers to a question, or a chat with its answer, to be scored by a reward model."""

    model: Name
    question: str | None = None
    answers: Texts | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    user: _User = None


class TokenizeBody(Body):
    """A text, or a chat, as the model is given it.

    Attributes:
        add_generation_prompt: whether a chat ends in the opening of an answer; it does if nothing is said.
    """

    model: Name
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    add_generation_prompt: bool | None = None


class DetokenizeBody(Body):
    """Token ids to be written as text, special tokens too."""

    model: Name
    tokens: list[TokenId]


class FeedbackBody(Body):
    """What somebody thought of an answer.

    Attributes:
        id: the answer's. `corrected`: what it should have been.
    """

    id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    rating: Literal["up", "down"]
    comment: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    corrected: Annotated[str, StringConstraints(max_length=100_000)] | None = None
