"""`/v1/chat/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hanji.generation.requests import Constraint, TokenLogprob
from hanji.generation.requests import Request as Asked
from hanji.serving.asking import requests_of
from hanji.serving.bodies.chat import ChatBody, NamedTool, Tool
from hanji.serving.connection import Events, Last, body_of, event, unless_gone
from hanji.serving.errors import invalid
from hanji.serving.forms import call_form, json_form, schema_of, structured_form
from hanji.serving.logprobs import chat_logprobs
from hanji.serving.models import Served
from hanji.serving.prompts import chat_ids, check_ids
from hanji.serving.service import Call
from hanji.serving.talk import Talk
from hanji.serving.tools import Call as ToolCall
from hanji.serving.tools import ToolCalls, defines_calls


async def chat_completions(request: Request) -> Response:
    """Answers a chat, whole or event by event."""
    chat = Chat(Call.of(request), ChatBody.parse(await body_of(request)))
    if chat.body.stream:
        return Events(chat.events())
    return JSONResponse(await unless_gone(request.receive, chat.whole()))


class Chat:
    """A chat on its way.

    Attributes:
        contents: per choice, what the assistant says. `calls`: what it calls, where it can.
    """

    def __init__(self, call: Call, body: ChatBody) -> None:
        self.body, self.talk = body, Talk(call, body, "chat")
        self.contents: list[list[str]] = []
        self.calls: list[ToolCalls | None] = []
        if body.top_logprobs is not None and not body.logprobs:
            raise invalid("`top_logprobs` goes with `logprobs: true`", "top_logprobs")
        if None not in (body.max_tokens, body.max_completion_tokens):
            raise invalid("Say `max_completion_tokens` or `max_tokens`, not both", "max_tokens")
        if body.tool_choice not in (None, "none") and not body.tools:
            raise invalid("`tool_choice` goes with `tools`", "tool_choice")

    async def whole(self) -> dict[str, Any]:
        """The answer."""
        with self.talk.call.service.models.use(self.body.model) as served:
            async with aclosing(self._deltas(served)) as deltas:
                async for _ in deltas:
                    pass
            choices = [self._choice(number, served) for number in range(len(self.talk.choices))]
        return {**self.talk.envelope("chat.completion"), "choices": choices, "usage": self.talk.usage()}

    def _choice(self, number: int, served: Served) -> dict[str, Any]:
        choice, calls = self.talk.choices[number], self.calls[number]
        text = "".join(self.contents[number])
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if calls is not None and calls.calls:
            message["content"] = text if text.strip() else None
            message["tool_calls"] = [call.to_json() for call in calls.calls]
        told = [one for _, one in choice.logprobs]
        return {
            "index": number, "message": message, "finish_reason": self._finish(number, choice.finish_reason),
            "logprobs": chat_logprobs(served.tokenizer, told) if self.body.logprobs else None,
        }  # fmt: skip

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answer, event by event."""
        opened, last = set[int](), b""
        with self.talk.call.service.models.use(self.body.model) as served:
            async with aclosing(self._deltas(served)) as deltas:
                async for number, said, told, finish in deltas:
                    events = []
                    if number not in opened:
                        opened.add(number)
                        events.append(
                            self._event(number, {"role": "assistant", "content": "", "refusal": None})
                        )
                    logprobs = chat_logprobs(served.tokenizer, told) if told else None
                    for one in said or ([""] if logprobs else []):
                        events.append(self._event(number, self._delta(number, one), logprobs))
                        logprobs = None
                    if finish is not None:
                        events.append(self._event(number, {}, finish=self._finish(number, finish)))
                    if self.talk.is_answered:
                        last += b"".join(events)
                    elif events:
                        yield b"".join(events)
        if self.body.tells_usage:
            usage = {**self.talk.envelope("chat.completion.chunk"), "choices": []}
            last += event({**usage, "usage": self.talk.usage()})
        yield Last(last)

    def _event(
        self, number: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None,
        finish: str | None = None,
    ) -> bytes:  # fmt: skip
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk = {**self.talk.envelope("chat.completion.chunk"), "choices": [choice]}
        return event({**chunk, "usage": None} if self.body.tells_usage else chunk)

    def _delta(self, number: int, said: str | ToolCall) -> dict[str, Any]:
        if isinstance(said, str):
            return {"content": said}
        calls = self.calls[number]
        assert calls is not None
        return {"tool_calls": [{"index": calls.calls.index(said), **said.to_json()}]}

    def _finish(self, number: int, reason: str | None) -> str | None:
        calls = self.calls[number]
        return "tool_calls" if calls is not None and calls.calls and reason == "stop" else reason

    async def _deltas(
        self, served: Served
    ) -> AsyncGenerator[tuple[int, list[str | ToolCall], Sequence[TokenLogprob], str | None], None]:
        """What becomes certain: the choice, what it says or calls, probabilities, why it ended."""
        served.check("chat")
        body, tools = self.body, self._tools()
        self.talk.check_choices(1)
        requests = await asyncio.to_thread(self._requests, served, tools, self._form(served))
        most = 1 if body.parallel_tool_calls is False else 128
        parses = bool(tools) and defines_calls(served.tokenizer.chat_template)
        self.calls = [ToolCalls(most) if parses else None for _ in requests]
        self.contents = [[] for _ in requests]
        async with aclosing(self.talk.fly(served, requests, len(requests[0].prompt))) as parts:
            async for number, part in parts:
                calls = self.calls[number]
                said: list[str | ToolCall] = [part.text] if part.text else []
                if calls is not None:
                    said = [*calls.push(part.text), *(calls.finish() if part.finish_reason else [])]
                self.contents[number] += [one for one in said if isinstance(one, str)]
                yield number, said, [one for _, one in part.logprobs], part.finish_reason

    def _requests(
        self, served: Served, tools: Sequence[Tool], form: Callable[[], Constraint] | None
    ) -> list[Asked]:
        body = self.body
        prompt = chat_ids(served.tokenizer, body.messages, tools)
        check_ids(served, [prompt], "messages")
        return requests_of(
            body, served, prompt, index=0, form=form,
            max_new_tokens=body.max_completion_tokens or body.max_tokens or served.backend.context,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        )  # fmt: skip

    def _tools(self) -> Sequence[Tool]:
        return () if self.body.tool_choice == "none" else self.body.tools or ()

    def _form(self, served: Served) -> Callable[[], Constraint] | None:
        """What an answer must keep to: a schema, another form, or calls.

        Raises:
            ApiError: two of them at once, or a tool that is not among the tools.
        """
        body = self.body
        schema, choice = schema_of(body.response_format), body.tool_choice
        is_forced = choice not in (None, "auto", "none")
        if body.structured_outputs is not None:
            if schema is not None or is_forced:
                other = "tool_choice" if schema is None else "response_format"
                raise invalid(
                    f"`structured_outputs` and `{other}` both say what an answer must be: leave one out",
                    "structured_outputs",
                )
            return partial(structured_form, served, body.structured_outputs)
        if not is_forced:
            return None if schema is None else partial(json_form, served, schema)
        if schema is not None:
            raise invalid(
                "A call that is forced has its own form: leave `response_format` out", "tool_choice"
            )
        tools = self._tools()
        if isinstance(choice, NamedTool):
            tools = [tool for tool in tools if tool.function.name == choice.function.name]
            if not tools:
                raise invalid(f"There is no tool {choice.function.name!r} in `tools`", "tool_choice")
        is_one = isinstance(choice, NamedTool) or body.parallel_tool_calls is False
        return partial(call_form, served, tools, most=1 if is_one else None)
