"""From what a client sends to the ids that a model is given: of chats, the ones that training built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hanji.contracts.errors import HanjiError
from hanji.data.chats.messages import check_turns, messages_of, tools_of
from hanji.data.records import RowProblem
from hanji.serving.bodies.chat import Message, Tool
from hanji.serving.bodies.completion import Prompt
from hanji.serving.errors import ApiError, invalid, refused
from hanji.serving.models import Served
from hanji.tokenizers.tokenizer import Tokenizer


def chat_ids(
    tokenizer: Tokenizer, messages: Sequence[Message], tools: Sequence[Tool], *, opens_answer: bool = True
) -> list[int]:
    """The ids of a chat, which end in the opening of an answer unless that is given.

    Raises:
        ApiError: a chat that no training could have had, or that the template cannot write.
    """
    try:
        listed = messages_of([_plain(message, tokenizer) for message in messages], "messages")
        check_turns(listed, [f"messages[{index}]" for index in range(len(listed))])
        offered = tools_of([tool.model_dump(exclude_none=True) for tool in tools])
        ids = _encode(tokenizer, listed, offered, opens_answer)
        for index, message in enumerate(listed):
            if message.get("name") and message["role"] != "tool":
                unnamed = [*listed[:index], {**message, "name": None}, *listed[index + 1 :]]
                if _encode(tokenizer, unnamed, offered, opens_answer) == ids:
                    raise invalid("The chat template drops names", f"messages[{index}].name")
    except RowProblem as problem:
        expected = f"; expected {problem.expected}" if problem.expected else ""
        raise invalid(f"{problem.field}: {problem.problem}{expected}", problem.field) from None
    except HanjiError as error:
        raise refused(error, "tools" if tools and "tools" in error.problem else "messages") from None
    return ids


def completion_ids(tokenizer: Tokenizer, prompt: Prompt) -> list[list[int]]:
    """The ids of each prompt. Texts follow the token that opens a document; ids are taken as they are.

    Raises:
        ApiError: there is none.
    """
    texts: list[str] = []
    if isinstance(prompt, str):
        texts = [prompt]
    elif prompt and isinstance(prompt[0], str):
        texts = [text for text in prompt if isinstance(text, str)]
    if texts:
        return [tokenizer.encode_prompt(text) for text in texts]
    rows = [prompt] if prompt and isinstance(prompt[0], int) else prompt
    return [[token for token in row if isinstance(token, int)] for row in rows if not isinstance(row, int)]


def are_ids(prompt: Prompt) -> bool:
    """Whether it needs no tokenizer: a text may have it made ready first, which takes seconds."""
    return not isinstance(prompt, str) and not any(isinstance(row, str) for row in prompt)


def check_ids(served: Served, rows: Sequence[Sequence[int]], param: str, *, answer: int = 1) -> None:
    """Refuses prompts that the model cannot read, or after which there is no room for an answer.

    Raises:
        ApiError: 400.
    """
    if not rows:
        raise invalid(f"`{param}` is empty", param)
    room = served.backend.context - served.backend.reserved - answer
    for index, row in enumerate(rows):
        where = f"{param}[{index}]" if len(rows) > 1 else param
        if not len(row):
            raise invalid(f"`{where}` has no tokens: write at least one character", where)
        if len(row) > room:
            raise ApiError(
                400, f"`{where}` has {len(row)} tokens; this model takes at most {room}"
                + (" before an answer" if answer else ""),
                param=where, code="context_length_exceeded",
            )  # fmt: skip
        if max(row) >= served.vocabulary or min(row) < 0:
            raise invalid(f"`{where}`: token ids are from 0 to {served.vocabulary - 1}", where)


def _encode(
    tokenizer: Tokenizer, messages: Sequence[dict[str, Any]], tools: Any, opens_answer: bool
) -> list[int]:
    ids: list[int] = tokenizer.encode_chat(
        messages, tools=tools, add_generation_prompt=opens_answer
    ).ids.tolist()
    return ids


def _plain(message: Message, tokenizer: Tokenizer) -> dict[str, Any]:
    """As a row would have it. `developer` is OpenAI's newer word for `system`; few templates know it."""
    plain = message.model_dump(exclude_none=True)
    if message.role == "developer" and "developer" not in (tokenizer.chat_template or ""):
        plain["role"] = "system"
    return plain
