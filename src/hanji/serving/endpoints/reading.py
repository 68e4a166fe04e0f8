"""`/v1/embeddings`, `/v1/classify`, `/v1/score`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hanji.contracts.errors import HanjiError
from hanji.generation.readings import LabelProbability, many_label_probabilities
from hanji.serving.bodies.chat import Message
from hanji.serving.bodies.reading import ClassifyBody, EmbeddingBody, ScoreBody, Texts
from hanji.serving.connection import body_of, unless_gone
from hanji.serving.errors import ApiError, invalid, refused
from hanji.serving.models import Served
from hanji.serving.prompts import chat_ids, check_ids, completion_ids
from hanji.serving.reading import embed, scores, text_ids
from hanji.serving.service import Call

Result = TypeVar("Result")


async def embeddings(request: Request) -> Response:
    """A vector for each text; its model's card says how it comes about."""
    call, body = Call.of(request), EmbeddingBody.parse(await body_of(request))
    with call.service.models.use(body.model) as served:
        served.check("embedding")
        size = served.loaded.model.config.get_text_config().hidden_size
        if body.dimensions not in (None, size):
            raise invalid(f"This model's embeddings have {size} dimensions", "dimensions")
        rows = await asyncio.to_thread(_rows, served, body)
        _check_count(call, len(rows))
        check_ids(served, rows, "input", answer=0)
        vectors = await read(call, request, served, lambda: embed(served, rows))
    tokens = sum(map(len, rows))
    call.service.metrics.read(body.model, tokens)
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector, body.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    return _listed(body.model, data, tokens)


async def classify(request: Request) -> Response:
    """The label of each text, and the probability of every label."""
    call, body = Call.of(request), ClassifyBody.parse(await body_of(request))
    texts, seconds = _texts(body.input), None if body.pair is None else _texts(body.pair)
    _check_count(call, len(texts))
    if seconds is not None and len(seconds) != len(texts):
        raise invalid(f"`pair` has {len(seconds)} texts, `input` {len(texts)}", "pair")
    pairs = list(zip(texts, seconds or repeat(None, len(texts)), strict=True))
    with call.service.models.use(body.model) as served:
        served.check("classify")

        def labels() -> list[list[LabelProbability]]:
            return many_label_probabilities(served.loaded.model, served.tokenizer, pairs)

        found = await read(call, request, served, labels)
        tokens = sum(len(row) for row in text_ids(served, [*texts, *(seconds or [])]))
    call.service.metrics.read(body.model, tokens)
    data = [
        {
            "object": "classification", "index": index, "label": each[0].label, "score": each[0].value,
            "scores": [{"label": one.label, "score": one.value} for one in each],
        }
        for index, each in enumerate(found)
    ]  # fmt: skip
    return _listed(body.model, data, tokens)


async def score(request: Request) -> Response:
    """The score of each answer to a question, or of a chat's last answer."""
    call, body = Call.of(request), ScoreBody.parse(await body_of(request))
    chats = _chats(body)
    _check_count(call, len(chats))
    with call.service.models.use(body.model) as served:
        served.check("score")
        rows = await asyncio.to_thread(
            lambda: [chat_ids(served.tokenizer, chat, body.tools or (), opens_answer=False) for chat in chats]
        )
        check_ids(served, rows, "messages" if body.messages else "answers", answer=0)
        found = await read(call, request, served, lambda: scores(served, rows))
    tokens = sum(map(len, rows))
    call.service.metrics.read(body.model, tokens)
    data = [{"object": "score", "index": index, "score": numbers[0]} for index, numbers in enumerate(found)]
    return _listed(body.model, data, tokens)


async def read(call: Call, request: Request, served: Served, work: Callable[[], Result]) -> Result:
    """The result of `work`, done where the model is.

    Raises:
        ApiError: too much waits already (429), the time is over (504), a text cannot be read (400).
        ClientGone: nobody waits any longer.
    """

    async def waiting() -> Result:
        async with asyncio.timeout(call.service.limits.seconds):
            return await asyncio.wrap_future(served.backend.call(work))

    try:
        return await unless_gone(request.receive, waiting())
    except TimeoutError:
        raise ApiError(
            504, "The answer took longer than this service allows", code="deadline_exceeded"
        ) from None
    except HanjiError as error:
        raise refused(error, "input") from None


def _rows(served: Served, body: EmbeddingBody) -> list[list[int]]:
    texts = [body.input] if isinstance(body.input, str) else body.input
    if texts and all(isinstance(text, str) for text in texts):
        return text_ids(served, [str(text) for text in texts])
    return completion_ids(served.tokenizer, body.input)


def _chats(body: ScoreBody) -> list[list[Message]]:
    if body.messages is not None:
        if body.question is not None or body.answers is not None:
            raise invalid("Send `messages`, or `question` and `answers`", "messages")
        if body.messages[-1].role != "assistant":
            raise invalid("The last message must be the answer that is scored", "messages")
        return [body.messages]
    if body.question is None or body.answers is None:
        raise invalid("`question` and `answers` are wanted, or `messages`", "question")
    question = Message(role="user", content=body.question)
    return [[question, Message(role="assistant", content=answer)] for answer in _texts(body.answers)]


def _texts(given: Texts) -> list[str]:
    return [given] if isinstance(given, str) else given


def _check_count(call: Call, count: int) -> None:
    most = call.service.limits.inputs
    if count > most:
        raise invalid(f"{count} texts are sent at once; at most {most} are read", "input")


def _written(vector: Sequence[float], form: str | None) -> Any:
    if form == "base64":
        return base64.b64encode(np.array(vector, "<f4").tobytes()).decode()
    return vector


def _listed(model: str, data: list[dict[str, Any]], tokens: int) -> Response:
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": model, "usage": usage})
