"""`/v1/tokenize` and `/v1/detokenize`: what a model is given, to look at."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hanji.serving.bodies.reading import DetokenizeBody, TokenizeBody
from hanji.serving.connection import body_of
from hanji.serving.errors import invalid
from hanji.serving.logprobs import token_text
from hanji.serving.prompts import chat_ids
from hanji.serving.reading import text_ids
from hanji.serving.service import Call


async def tokenize(request: Request) -> Response:
    """The ids of a text or a chat, exactly as the model would be given them."""
    call, body = Call.of(request), TokenizeBody.parse(await body_of(request))
    if (body.prompt is None) == (body.messages is None):
        raise invalid("`prompt` or `messages` is wanted, one of them", "prompt")
    if body.messages is None and (body.tools or body.add_generation_prompt is not None):
        raise invalid("`tools` and `add_generation_prompt` go with `messages`", "messages")
    with call.service.models.use(body.model) as served:
        if body.messages is not None:
            served.check("chat" if served.loaded.head == "causal" else "score")
            ids = await asyncio.to_thread(
                chat_ids, served.tokenizer, body.messages, body.tools or (),
                opens_answer=body.add_generation_prompt is not False,
            )  # fmt: skip
        else:
            ids = (await asyncio.to_thread(text_ids, served, [body.prompt or ""]))[0]
        texts = [token_text(served.tokenizer, token) for token in ids]
        room = served.backend.context - served.backend.reserved
    return JSONResponse({"tokens": ids, "texts": texts, "count": len(ids), "context": room})


async def detokenize(request: Request) -> Response:
    """The text of token ids."""
    call, body = Call.of(request), DetokenizeBody.parse(await body_of(request))
    with call.service.models.use(body.model) as served:
        if any(token >= served.vocabulary for token in body.tokens):
            raise invalid(f"Token ids are from 0 to {served.vocabulary - 1}", "tokens")
        text = await asyncio.to_thread(served.tokenizer.decode, body.tokens)
    return JSONResponse({"prompt": text})
