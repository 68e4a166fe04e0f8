"""An answer piece by piece, as a terminal or a browser shows it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Literal

from torch import Tensor
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from hanji.generation.answers import (
    TextDecoder,
    decoding_settings,
    evaluating,
    opened,
    pad_left,
    room_for_answer,
    seeded,
)

UNFINISHED = "�"
"""What decoders put for the bytes of a character whose other bytes have not come yet."""


class TextPieces:
    """Turns tokens that come one by one into text that never shows half a character.

    A Hangul syllable or an emoji may be spread over several tokens; the text of a token may depend on the one
    before it. So the tokens of the piece before are decoded together with the new ones, and text is handed
    out only while it does not end in an unfinished character.
    """

    def __init__(self, tokenizer: TextDecoder) -> None:
        self._tokenizer = tokenizer
        self._shown: list[int] = []  # tokens of the piece handed out last: the context of the next
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        """The text that became certain with `token`; empty while a character is unfinished."""
        self._waiting.append(token)
        return self._take(last=False)

    def finish(self) -> str:
        """What is left, whatever it is."""
        return self._take(last=True)

    def _take(self, *, last: bool) -> str:
        before = self._decode(self._shown)
        text = self._decode(self._shown + self._waiting)[len(before) :]
        if not text or (text.endswith(UNFINISHED) and not last):
            return ""
        self._shown, self._waiting = self._waiting, []
        return text

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True) if ids else ""


def stream(
    model: Any,
    tokenizer: TextDecoder,
    prompt: Sequence[int],
    *,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop_ids: Sequence[int] | None = None,
) -> Generator[str, None, Literal["stop", "length"]]:
    """The answer to one prompt as pieces of text; joined, they are the `text` that `generate` gives.

    Decoding runs in a thread of its own and ends at the next token when the iterator is closed. Arguments and
    errors are those of `generate`.

    Returns:
        The generator's value (of `yield from`): the finish reason.
    """
    ending = list(tokenizer.eos_ids if stop_ids is None else stop_ids)
    ids, mask = pad_left([opened(model, prompt)], tokenizer.pad_id, model.device)
    room = room_for_answer(model, ids.tolist(), max_new_tokens)
    settings = decoding_settings(
        max_new_tokens=room, temperature=temperature,
        top_k=top_k, top_p=top_p, stop_ids=ending, pad_id=tokenizer.pad_id,
    )  # fmt: skip
    tokens, closed = _TokenQueue(), Event()

    def decode() -> None:
        try:
            with seeded(seed, model.device), evaluating(model):
                model.generate(
                    ids, attention_mask=mask, generation_config=settings,
                    streamer=tokens, stopping_criteria=[_Closed(closed)],
                )  # fmt: skip
        except BaseException as error:  # raised again where the pieces are read
            tokens.queue.put(error)

    thread = Thread(target=decode, daemon=True)
    thread.start()
    try:
        return (yield from _pieces(tokens.queue, set(ending), tokenizer))
    finally:
        closed.set()
        thread.join()


def _pieces(
    queue: SimpleQueue[int | BaseException | None], ending: set[int], tokenizer: TextDecoder
) -> Generator[str, None, Literal["stop", "length"]]:
    pieces = TextPieces(tokenizer)
    reason: Literal["stop", "length"] = "length"
    while (token := queue.get()) is not None:
        if isinstance(token, BaseException):
            raise token
        if token in ending:
            reason = "stop"
        elif text := pieces.push(token):
            yield text
    if text := pieces.finish():
        yield text
    return reason


class _TokenQueue(BaseStreamer):  # type: ignore[misc]
    """Hands each new token to whoever waits; the first call brings the prompt, which is not new."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[int | BaseException | None] = SimpleQueue()
        self._prompt_seen = False

    def put(self, value: Tensor) -> None:
        if self._prompt_seen:
            for token in value.flatten().tolist():
                self.queue.put(token)
        self._prompt_seen = True

    def end(self) -> None:
        self.queue.put(None)


class _Closed(StoppingCriteria):  # type: ignore[misc]
    """Ends the answer once nobody reads it."""

    def __init__(self, closed: Event) -> None:
        self._closed = closed

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        return input_ids.new_full((input_ids.shape[0],), self._closed.is_set()).bool()
