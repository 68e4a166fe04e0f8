"""Probabilities of tokens, as the two endpoints tell them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from hanji.generation.requests import TokenLogprob
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.words import byte_letters

_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_LEAST: Final = -9999.0
"""JSON has no infinity; this is what OpenAI says in its place."""


@lru_cache(maxsize=65536)
def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """The bytes of a token, which may be a part of a character."""
    text = tokenizer.decode([token])
    if "\N{REPLACEMENT CHARACTER}" not in text:
        return text.encode()
    written = str(tokenizer.hf.convert_ids_to_tokens(token))
    if found := _BYTE.fullmatch(written):
        return bytes.fromhex(found[1])
    letters = byte_letters()
    if all(letter in letters for letter in written):
        return bytes(letters[letter] for letter in written)
    return text.encode()


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """Its text; of a part of a character `bytes:\\xed\\x95`, as OpenAI writes it."""
    spelt = token_bytes(tokenizer, token)
    try:
        return spelt.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelt)


def chat_logprobs(tokenizer: Tokenizer, told: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Of a chat's answer: token by token."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        return {
            "token": token_text(tokenizer, token), "logprob": max(logprob, _LEAST),
            "bytes": list(token_bytes(tokenizer, token)),
        }  # fmt: skip

    content = [
        {**entry(one.token, one.logprob), "top_logprobs": [entry(*top) for top in one.top]} for one in told
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(
    tokenizer: Tokenizer, told: Sequence[tuple[int, TokenLogprob | int]]
) -> dict[str, Any]:
    """Of a completion: four lists. A bare token is a prompt's first, which nothing stands before."""
    tokens: list[str] = []
    own: list[float | None] = []
    tops: list[dict[str, float] | None] = []
    for _, one in told:
        if isinstance(one, int):
            tokens.append(token_text(tokenizer, one))
            own.append(None)
            tops.append(None)
            continue
        tokens.append(token_text(tokenizer, one.token))
        own.append(max(one.logprob, _LEAST))
        tops.append({token_text(tokenizer, token): max(value, _LEAST) for token, value in one.top})
    return {
        "tokens": tokens, "token_logprobs": own, "top_logprobs": tops,
        "text_offset": [offset for offset, _ in told],
    }  # fmt: skip
