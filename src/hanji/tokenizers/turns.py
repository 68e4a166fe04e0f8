"""Where the assistant speaks in a rendered chat."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hanji.contracts.errors import DataError, ModelError
from hanji.tokenizers.rendering import Messages, Rendered, Renderer, Tools


class TurnFinder:
    """Finds what the assistant says in a rendered chat, with the token that ends each turn.

    Args:
        renderer: applies the template.
        control: matches any control token.
        end_of_turn: the token that ends an answer.
    """

    def __init__(self, renderer: Renderer, control: re.Pattern[str], end_of_turn: str) -> None:
        self._renderer = renderer
        self._control = control
        self._end = re.compile(re.escape(end_of_turn))
        self._closing = re.compile(rf"\s*{re.escape(end_of_turn)}")
        self._trailer = re.compile(rf"(?:\s|{control.pattern})*")

    def find(self, messages: Messages, tools: Tools) -> Rendered:
        """The text and its spans, in order.

        Raises:
            DataError: where a span or its end cannot be told with certainty.
        """
        text, marks = self._renderer.transcript(messages, tools)
        if self._renderer.is_marked:
            return Rendered(text, tuple(self._marked(text, marks)))
        turns = [index for index, message in enumerate(messages) if message.get("role") == "assistant"]
        return Rendered(text, tuple(self._rendered(text, messages, tools, index) for index in turns))

    def _marked(self, text: str, marks: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Spans between marks; each turn's last one is made to end exactly with its end-of-turn token."""
        marks = [(start, end) for start, end in marks if start < end]
        spans = []
        for (start, end), following in zip(
            marks, [*(start for start, _ in marks[1:]), len(text)], strict=True
        ):
            inside = list(self._end.finditer(text, start, end))
            closing = self._closing.match(text, end)
            if inside:
                if text[inside[-1].end() : end].strip():
                    raise _uncertain("the marks of the chat template go on after the end of the turn")
                spans.append((start, inside[-1].end()))
            elif closing:
                spans.append((start, closing.end()))
            elif following == len(text) or self._end.search(text, end, following):
                raise _uncertain("the marks of the chat template stop short of the end of the turn")
            else:  # one of several pieces of the same turn
                spans.append((start, end))
        return spans

    def _rendered(self, text: str, messages: Messages, tools: Tools, index: int) -> tuple[int, int]:
        """The span of message `index`: what follows the prompt for it, in the chat up to it and in all."""
        prompt = self._renderer.prompt(messages[:index], tools)
        is_last = index + 1 == len(messages)
        upto = text if is_last else self._renderer.transcript(messages[: index + 1], tools)[0]
        where = f"message {index}"
        if not upto.startswith(prompt) or not text.startswith(prompt):
            raise _uncertain(
                "the chat template does not write an answer right after its own prompt for one", where
            )
        end = self._turn_end(upto, len(prompt), where)
        if not text.startswith(upto[:end]):
            raise _uncertain("the chat template writes an earlier answer otherwise than the last", where)
        return len(prompt), end

    def _turn_end(self, upto: str, start: int, where: str) -> int:
        found = self._end.search(upto, start)
        if found is None:
            last = list(self._control.finditer(upto, start))
            if not last or upto[last[-1].end() :].strip():
                raise _uncertain("nothing in the chat template ends the turn", where)
            return last[-1].end()
        if not self._trailer.fullmatch(upto, found.end()):
            raise _uncertain("the chat template goes on after the end of the turn", where)
        return found.end()


def find_end_of_turn(renderer: Renderer, tokens: re.Pattern[str]) -> str | None:
    """The first token after an answer, where `renderer` writes one of those that `tokens` matches."""
    answer = "hanji-answers"
    try:
        text, _ = renderer.transcript(
            [{"role": "user", "content": "hanji-asks"}, {"role": "assistant", "content": answer}], None
        )
    except DataError:
        return None
    position = text.rfind(answer)
    if position < 0:
        return None
    found = tokens.search(text, position + len(answer))
    return found.group() if found else None


def _uncertain(reason: str, where: str | None = None) -> DataError:
    return DataError(
        f"cannot tell which tokens of the chat are the assistant's: {reason}",
        where=where,
        hint="Cut the chat so that it ends with its one answer; or give the template {% generation %} marks.",
    )


def no_end_of_turn() -> ModelError:
    """Why chats cannot be trained on with a template that ends no turn."""
    return ModelError(
        "the chat template writes no token that ends the assistant's turn: nobody could learn to stop",
        expected="a special token after the assistant's content",
        hint="Give the tokenizer another chat template.",
    )
