"""Continuous batching: requests join and leave a fixed set of slots between the steps of one model."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from hanji.contracts.errors import ConfigError, HanjiError, ModelError
from hanji.contracts.modes import in_evaluation
from hanji.generation.adapters import Adapters
from hanji.generation.decoders import PROBED, Chunk, SlotDecoder, choose_decoder
from hanji.generation.handles import Handle
from hanji.generation.invariance import invariant
from hanji.generation.kernels.blocks import FusedBlocks
from hanji.generation.kernels.layers import FusedLayers
from hanji.generation.logprobs import logprobs
from hanji.generation.memory import context_of
from hanji.generation.packed import PackedLinears, weights_mark
from hanji.generation.prefixes import PrefixStore
from hanji.generation.requests import Answer, Piece, Request
from hanji.generation.sampling import Row, are_finite, choose
from hanji.generation.text import StopStrings, TextDecoder, TextPieces

log = logging.getLogger(__name__)

SLOTS = 16
BLOCK = 128
"""Tokens of a prompt that are read at once; prefixes are kept in such blocks."""
READING = 512
"""Tokens of prompts that are read between two steps, so that a long prompt does not stall those who wait."""
PREFIX_BYTES = 256 * 2**20
CACHE_BYTES = 2 * 2**30
"""Most memory that the cache of an engine takes if nothing else is said."""
PACKED_BYTES = 4 * 2**30
"""Most memory that packed weights take if nothing else is said."""


class Engine:
    """Answers many requests with one model. A context manager: outside, the model is as it was.

    Used by one thread; only `Handle.cancel` may be called from any. Weights that change while
    nothing is being answered are followed.

    Args:
        model: a causal model of transformers, whatever method it was trained by. Its own generation settings
            are not used.
        slots: requests at a time. Each step computes all of them, so take one for a single talk.
        adapters: what lies in these directories answers under these names, over the same model.
        context: tokens that a prompt and its answer have together at most; None: as many as the model
            reads, and `cache_bytes` holds.
        cache_bytes: memory for keys and values.
        prefix_bytes: memory for what prompts begin with; 0 reuses nothing.
        packed_bytes: memory for weights laid out anew, where that makes steps faster; 0 packs none.
        compiled: whether steps are compiled (`torch.compile`, and CUDA graphs on a GPU): faster for small
            models, after a wait at the start, and not together with adapters.

    Raises:
        ConfigError: no slots, a context that the memory does not hold, or adapters in compiled steps.
        ModelError: an adapter of another base, or one that must be served by itself.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: TextDecoder,
        *,
        slots: int = SLOTS,
        adapters: Mapping[str, str | Path] = MappingProxyType({}),
        context: int | None = None,
        cache_bytes: int = CACHE_BYTES,
        prefix_bytes: int = PREFIX_BYTES,
        packed_bytes: int = PACKED_BYTES,
        compiled: bool = False,
        block: int = BLOCK,
        reading: int = READING,
    ) -> None:
        if slots < 1:
            raise ConfigError("an engine needs slots", where="slots", value=slots, expected="1 or more")
        if compiled and adapters:
            raise ConfigError("compiled steps have no adapters", where="adapters", value=", ".join(adapters))
        self.model, self.tokenizer, self.slots = model, tokenizer, slots
        self.context = context_of(model, slots, context, cache_bytes)
        self.block, self.reading = block, reading
        self.prefixes = PrefixStore(block, prefix_bytes)
        self.adapters = Adapters(model, slots)
        for name, directory in adapters.items():
            self.adapters.add(name, directory)
        self.waiting: deque[Handle] = deque()
        self.running: dict[int, Handle] = {}
        self._free = list(range(slots))[::-1]
        fused = FusedLayers(model)
        self._lent = ExitStack()  # nothing fails from here on, so that the model is given back by `__exit__`
        self._lent.callback(model.set_attn_implementation, model.config._attn_implementation)
        self._lent.enter_context(in_evaluation(model))
        self._lent.enter_context(fused.lent())
        self._packed = PackedLinears(model, packed_bytes, grouped=not compiled, wide=fused.pairs)
        self._lent.enter_context(self._packed.lent())
        self.adapters.work_in(self._packed)
        self._lent.enter_context(FusedBlocks(model, fused, self._packed).lent())
        if slots > 1 and model.device.type == "cpu":
            self._lent.enter_context(invariant(model, max(self.context, PROBED)))
        self._weights = weights_mark(model)
        with torch.inference_mode():
            self._decoder, problem = choose_decoder(model, slots, self.context)
            uncompiled = (
                self._decoder.compile() if compiled and isinstance(self._decoder, SlotDecoder) else None
            )
        if problem is not None:
            log.info("requests are decoded one by one, which is slower: %s", problem)
        if uncompiled is not None:
            log.warning("steps are not compiled: %s", uncompiled)
        if slots > 1 and isinstance(self._decoder, SlotDecoder) and not self._decoder.mixes:
            log.info("prompts are read apart, and idle slots take part in steps: bits depend on company here")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.adapters.close()
        self._lent.close()

    def submit(self, request: Request, on_piece: Callable[[Piece], None] | None = None) -> Handle:
        """Takes a request; `step` answers it.

        Args:
            on_piece: called with each piece as it comes, from where `step` is called.

        Raises:
            ConfigError: for tokens that the model has not.
            ModelError: for a prompt that is empty or leaves no room in the context.
        """
        self._check_tokens("prompt", request.prompt)
        self._check_tokens("logit_bias", list(request.sampling.logit_bias))
        ids = [*self.adapters.virtual_ids(request.adapter), *opened(self.model, request.prompt)]
        if request.adapter is not None and not isinstance(self._decoder, SlotDecoder):
            raise ModelError(
                "this model decodes its requests one by one, and adapters cannot share it",
                value=self.model.config.model_type,
                hint="serve the adapter merged, as a model of its own",
            )
        room = check_room(len(ids), self.context)
        ending = self.tokenizer.eos_ids if request.stop_ids is None else request.stop_ids
        handle = Handle(
            request, ids, min(request.max_new_tokens, room), ending, on_piece,
            TextPieces(self.tokenizer), StopStrings(request.stop),
        )  # fmt: skip
        self.waiting.append(handle)
        return handle

    def _check_tokens(self, where: str, ids: Sequence[int]) -> None:
        size = self.model.get_input_embeddings().weight.shape[0]
        wrong = next((token for token in ids if not 0 <= token < size), None)
        if wrong is not None:
            raise ConfigError(
                "the model has no such token", where=where, value=wrong, expected=f"0 to {size - 1}"
            )

    def run(self, requests: Iterable[Request]) -> list[Answer]:
        """Answers all requests, in their order.

        Raises:
            ModelError: as `submit`, before anything is answered; or where the model's values are not finite.
        """
        handles = [self.submit(request) for request in requests]
        while self.step():
            pass
        for handle in handles:
            if handle.answer.error is not None:
                raise handle.answer.error
        return [handle.answer for handle in handles]

    def stream(self, request: Request) -> Generator[Piece, None, Answer]:
        """The answer to one request piece by piece, as they are asked for; others under way go on beside it.

        Closing the iterator cancels the request.

        Returns:
            The generator's value (of `yield from`): the whole answer.

        Raises:
            ModelError: as `run`.
        """
        arrived: deque[Piece] = deque()
        handle = self.submit(request, arrived.append)
        try:
            while not handle.is_done or arrived:
                if not arrived:
                    self.step()
                while arrived:
                    yield arrived.popleft()
        finally:
            if not handle.is_done:
                handle.cancel()
                self._release()
        if handle.answer.error is not None:
            raise handle.answer.error
        return handle.answer

    @torch.inference_mode()
    def step(self) -> bool:
        """Reads some of the prompts, and takes a step with all rows that are read.

        Returns:
            False if nothing is left to be done.
        """
        self._release()
        self._admit()
        asked = self._chunks()
        if asked:
            chunks = [chunk for _, chunk in asked]
            self._hand_out(asked, self._decoder.advance(chunks))
        return bool(self.waiting or self.running)

    def _chunks(self) -> list[tuple[Handle, Chunk]]:
        """What goes through the model now: the last token of each answer, and some of the prompts."""
        answering = [self.running[slot] for slot in sorted(self.running) if self.running[slot].answer.ids]
        found = [
            (one, Chunk(one.slot, one.answer.ids[-1:], len(one.ids) + len(one.answer.ids) - 1))
            for one in answering
        ]
        budget, under_way = self.reading, set[bytes]()
        for handle in self.running.values():
            while budget > 0 and not handle.is_read and (chunk := self._next_chunk(handle, under_way)):
                found.append((handle, chunk))
                budget -= len(chunk.ids)
        return found

    def _next_chunk(self, handle: Handle, under_way: set[bytes]) -> Chunk | None:
        """The next block of a prompt that must be computed, after those that are found ready.

        Args:
            under_way: blocks that are computed in this step. Another request that begins so waits for them.
        """
        while key := handle.next_block(self.block):
            if key in under_way:
                return None
            states = self.prefixes.find(key)
            if states is None:
                under_way.add(key)
                break
            self._decoder.paste(handle.slot, handle.read, states)
            handle.read += self.block
            handle.answer.reused += self.block
        start, end = handle.read, min(handle.read + self.block, len(handle.ids))
        every = handle.request.prompt_logprobs is not None
        handle.read = end
        return Chunk(handle.slot, handle.ids[start:end], start, end - start if every else int(handle.is_read))

    def _hand_out(self, asked: Sequence[tuple[Handle, Chunk]], logits: Tensor) -> None:
        """Notes what was read of prompts, and draws the next token of the other rows."""
        ready, rows, at = [], [], 0
        for handle, chunk in asked:
            own = logits[at : at + chunk.wanted]
            at += chunk.wanted
            if not handle.answer.ids:
                self._note_read(handle, chunk, own)
            if chunk.end >= len(handle.ids):
                ready.append(handle)
                rows.append(at - 1)
        if ready:
            self._continue(ready, logits if len(rows) == len(logits) else logits[rows])

    def _note_read(self, handle: Handle, chunk: Chunk, logits: Tensor) -> None:
        """Keeps a whole block for other prompts, and notes probabilities where they are asked for."""
        if handle.request.prompt_logprobs is not None:
            self._note_prompt(handle, logits, chunk.start)
        number = chunk.start // self.block
        if number < len(handle.blocks):
            states = self._decoder.copy(handle.slot, chunk.start, chunk.end)
            if states is not None:
                self.prefixes.keep(handle.blocks[number], states)

    def _release(self) -> None:
        """Lets go of whom nobody waits for."""
        for handle in [*self.running.values(), *self.waiting]:
            if handle.cancelled:
                handle.answer.finish_reason = "cancelled"
                self._leave(handle, Piece(finish_reason="cancelled"))

    def _follow_weights(self) -> None:
        """Forgets what was made of weights that have changed since."""
        mark = weights_mark(self.model)
        if mark != self._weights:
            self._weights = mark
            self._packed.pack()
            self.prefixes.clear()

    def _admit(self) -> None:
        if self.waiting and not self.running:
            self._follow_weights()
        while self._free and self.waiting:
            handle = self.waiting.popleft()
            if handle.is_done:
                continue
            handle.slot = self._free.pop()
            self.running[handle.slot] = handle
            try:
                self.adapters.assign(handle.slot, handle.request.adapter)
            except HanjiError as error:  # removed, or damaged, since the request was taken
                self._fail(handle, error)
                continue
            if handle.request.prompt_logprobs is None:
                about = self.adapters.identity(handle.request.adapter)
                handle.blocks = self.prefixes.keys(handle.ids, about)

    def _note_prompt(self, handle: Handle, logits: Tensor, start: int) -> None:
        """Probabilities of the tokens that follow those read, as far as they are of the prompt itself."""
        second = len(handle.ids) - len(handle.request.prompt) + 1
        first = max(start + 1, second)
        following = handle.ids[first : start + 1 + len(logits)]
        if following:
            rows = logits[first - start - 1 :][: len(following)]
            handle.answer.prompt_logprobs += logprobs(rows, following, handle.request.prompt_logprobs or 0)

    def _continue(self, handles: Sequence[Handle], logits: Tensor) -> None:
        """Draws a token for each row, and tells those who wait."""
        finite = are_finite(logits)
        good: list[int] = []
        rows: list[Row] = []
        for index, (handle, fine) in enumerate(zip(handles, finite, strict=True)):
            try:
                if not fine:
                    raise _not_finite(handle)
                rows.append(handle.row())
            except HanjiError as error:
                self._fail(handle, error, spoiled=not fine)
            else:
                good.append(index)
        if not good:
            return
        kept = logits if len(good) == len(handles) else logits[good]
        for own, index, token in zip(kept, good, choose(kept, rows), strict=True):
            self._take(handles[index], token, own)

    def _take(self, handle: Handle, token: int, logits: Tensor) -> None:
        wanted = handle.request.logprobs
        told = () if wanted is None else tuple(logprobs(logits[None], [token], wanted))
        try:
            piece = handle.take(token, told)
        except HanjiError as error:
            self._fail(handle, error)
            return
        if piece.is_last:
            self._leave(handle, piece)
        elif handle.on_piece is not None:
            handle.on_piece(piece)

    def _fail(self, handle: Handle, error: HanjiError, *, spoiled: bool = False) -> None:
        """One request has no answer; the others go on."""
        handle.answer.error = error
        if spoiled:
            self._decoder.clear(handle.slot)
        self._leave(handle, Piece(error=error))

    def _leave(self, handle: Handle, last: Piece) -> None:
        if handle.slot >= 0:
            self._decoder.free(handle.slot)
            self.adapters.assign(handle.slot, None)
            del self.running[handle.slot]
            self._free.append(handle.slot)
            handle.slot = -1
        elif handle in self.waiting:
            self.waiting.remove(handle)
        if handle.on_piece is not None:
            handle.on_piece(last)


def opened(model: Any, prompt: Sequence[int]) -> list[int]:
    """The prompt after the model's soft prompt, where it has one; an empty prompt stays empty."""
    virtual = getattr(model.get_input_embeddings(), "virtual_ids", ())
    return [*virtual, *prompt] if len(prompt) else []


def check_room(tokens: int, context: int | None) -> int:
    """Tokens that an answer may have after a prompt of so many; of a model without a limit, any number.

    Raises:
        ModelError: a prompt that is empty, or too long.
    """
    if not tokens:
        raise ModelError("the prompt has no tokens", hint="write at least one character")
    if context is not None and tokens >= context:
        raise ModelError(
            "the prompt leaves no room for an answer in the model's context",
            value=tokens,
            expected=f"fewer than {context} tokens",
            hint="shorten it; in a chat, /reset begins anew",
        )
    return sys.maxsize if context is None else context - tokens


def _not_finite(handle: Handle) -> ModelError:
    return ModelError(
        "the model's values are not finite: its weights are damaged, or overflow in this precision",
        value=f"at token {len(handle.ids) + len(handle.answer.ids)}",
        hint="load it in fp32, or train it again with a lower learning rate",
    )
