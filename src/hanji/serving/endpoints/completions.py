"""`/v1/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hanji.generation.requests import Request as Asked
from hanji.generation.requests import TokenLogprob
from hanji.generation.text import TextPieces
from hanji.serving.asking import requests_of
from hanji.serving.bodies.completion import CompletionBody
from hanji.serving.bodies.generation import COMPLETION_TOKENS
from hanji.serving.choice import Part
from hanji.serving.connection import Events, Last, body_of, event, unless_gone
from hanji.serving.errors import invalid
from hanji.serving.forms import structured_form
from hanji.serving.logprobs import completion_logprobs
from hanji.serving.models import Served
from hanji.serving.prompts import are_ids, check_ids, completion_ids
from hanji.serving.service import Call
from hanji.serving.talk import Talk

Told = list[tuple[int, TokenLogprob | int]]


async def completions(request: Request) -> Response:
    """Continues texts, whole or event by event."""
    completion = Completion(Call.of(request), CompletionBody.parse(await body_of(request)))
    if completion.body.stream:
        return Events(completion.events())
    return JSONResponse(await unless_gone(request.receive, completion.whole()))


class Completion:
    """Prompts on their way, each with `n` choices, in their order."""

    def __init__(self, call: Call, body: CompletionBody) -> None:
        self.body, self.talk = body, Talk(call, body, "completion")
        self.prompts: list[list[int]] = []
        self._echoed: set[int] = set()
        self._texts: dict[int, tuple[str, list[int]]] = {}
        if body.max_tokens == 0 and not body.echo:
            raise invalid("`max_tokens: 0` goes with `echo`", "max_tokens")

    async def whole(self) -> dict[str, Any]:
        """The answer."""
        choices: dict[int, dict[str, Any]] = {}
        with self.talk.call.service.models.use(self.body.model) as served:
            async with aclosing(self._parts(served)) as parts:
                async for number, text, told, finish in parts:
                    choice = choices.setdefault(number, {"text": "", "told": []})
                    choice["text"] += text
                    choice["told"] += told
                    choice["finish"] = finish
            found = [
                self._choice(served, number, one["text"], one["told"], one["finish"])
                for number, one in sorted(choices.items())
            ]
        return {**self.talk.envelope("text_completion"), "choices": found, "usage": self.talk.usage()}

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answer, event by event."""
        last = b""
        with self.talk.call.service.models.use(self.body.model) as served:
            async with aclosing(self._parts(served)) as parts:
                async for number, text, told, finish in parts:
                    if not (text or told or finish):
                        continue
                    choice = self._choice(served, number, text, told, finish)
                    chunk = {**self.talk.envelope("text_completion"), "choices": [choice]}
                    told_now = event({**chunk, "usage": None} if self.body.tells_usage else chunk)
                    if self.talk.is_answered:
                        last += told_now
                    else:
                        yield told_now
        if self.body.tells_usage:
            usage = {**self.talk.envelope("text_completion"), "choices": [], "usage": self.talk.usage()}
            last += event(usage)
        yield Last(last)

    def _choice(
        self, served: Served, number: int, text: str, told: Told, finish: str | None
    ) -> dict[str, Any]:
        tells = self.body.logprobs is not None
        logprobs = completion_logprobs(served.tokenizer, told) if tells else None
        return {"index": number, "text": text, "logprobs": logprobs, "finish_reason": finish}

    async def _parts(self, served: Served) -> AsyncGenerator[tuple[int, str, Told, str | None], None]:
        """What becomes certain: the choice, text, probabilities, why it ended."""
        served.check("completion")
        body = self.body
        if are_ids(body.prompt) and body.structured_outputs is None:
            requests = self._requests(served)  # at once: a visit to another thread would take longer
        else:
            requests = await asyncio.to_thread(self._requests, served)
        read = sum(map(len, self.prompts))
        async with aclosing(self.talk.fly(served, requests, read)) as parts:
            async for number, part in parts:
                text, told = self._echo(served, number)
                if body.max_tokens != 0:
                    told += self._shifted(served, number, part)
                    text += part.text
                yield number, text, told, part.finish_reason and self._finish(part.finish_reason)

    def _requests(self, served: Served) -> list[Asked]:
        body, requests = self.body, []
        self.prompts = completion_ids(served.tokenizer, body.prompt)
        check_ids(served, self.prompts, "prompt")
        self.talk.check_choices(len(self.prompts))
        most = COMPLETION_TOKENS if body.max_tokens is None else max(body.max_tokens, 1)
        wanted = body.structured_outputs
        form = None if wanted is None else partial(structured_form, served, wanted)
        for index, prompt in enumerate(self.prompts):
            requests += requests_of(
                body, served, prompt, index=index, max_new_tokens=most, logprobs=body.logprobs,
                prompt_logprobs=body.logprobs if body.echo else None, form=form,
            )  # fmt: skip
        return requests

    def _finish(self, reason: str) -> str:
        return "length" if self.body.max_tokens == 0 else reason

    def _echo(self, served: Served, number: int) -> tuple[str, Told]:
        """The prompt and its probabilities, at a choice's first piece; nothing after it."""
        if not self.body.echo or number in self._echoed:
            return "", []
        self._echoed.add(number)
        prompt = self.prompts[number // (self.body.n or 1)]
        text, offsets = self._text(served, number)
        if self.body.logprobs is None:
            return text, []
        # a soft prompt is no part of what was sent
        known = self.talk.answer(number).prompt_logprobs[-(len(prompt) - 1) :] if len(prompt) > 1 else []
        return text, list(zip(offsets, [prompt[0], *known], strict=True))

    def _shifted(self, served: Served, number: int, part: Part) -> Told:
        before = len(self._text(served, number)[0]) if self.body.echo and part.logprobs else 0
        return [(before + offset, one) for offset, one in part.logprobs]

    def _text(self, served: Served, number: int) -> tuple[str, list[int]]:
        """The text of a choice's prompt, and where each of its tokens begins."""
        index = number // (self.body.n or 1)
        if index not in self._texts:
            pieces, text, offsets = TextPieces(served.tokenizer), "", []
            for token in self.prompts[index]:
                offsets.append(len(text))
                text += pieces.push(token)
            self._texts[index] = text + pieces.finish(), offsets
        return self._texts[index]
