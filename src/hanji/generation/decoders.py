"""Who computes the next logits of many rows: all in one pass (slots), or each by itself."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from hanji.generation.slots import SLOT_ATTENTION, Segment, SlotCache, Step, at

States = list[tuple[Tensor, Tensor]]
"""Keys and values of some places, of each layer."""

_PROBE = (13, 9)
"""Tokens of the two rows that a probe reads and decodes."""
PROBED = 640
"""Places that probes look at, at most."""
STRIDE = 64
"""Places come in multiples of so many: where one kernel looks at all rows, the length of the longest changes
seldom."""
_found: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()
"""What the probe found of models that were asked before."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of a slot that follow each other, to be taken through the model.

    Attributes:
        start: the place of the first.
        wanted: of how many of the last tokens logits are wanted.
    """

    slot: int
    ids: Sequence[int]
    start: int
    wanted: int = 1

    @property
    def end(self) -> int:
        """The place after the last."""
        return self.start + len(self.ids)


class Decoder(Protocol):
    """Takes tokens of many rows through a model, for a fixed number of slots."""

    def advance(self, chunks: Sequence[Chunk]) -> Tensor:
        """Tokens of answers, of each slot the last, and of prompts, of each slot the next.

        Returns:
            fp32 logits [tokens wanted, vocabulary], in the order of the chunks.
        """

    def free(self, slot: int) -> None:
        """The row of this slot is over."""

    def clear(self, slot: int) -> None:
        """What the row of this slot has left is not finite, and must not reach the next."""

    def copy(self, slot: int, start: int, end: int) -> States | None:
        """Keys and values of these places, or None where they cannot be had."""

    def paste(self, slot: int, start: int, states: States) -> None:
        """Puts back what `copy` gave."""


class _Pass:
    """The tokens of one forward pass, as they are put together."""

    def __init__(self, spare: int) -> None:
        self.spare = spare
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.slots: list[int] = []
        self.writes: list[int] = []
        self.segments: list[Segment] = []
        self.wanted: list[int] = []

    def add(self, chunk: Chunk) -> None:
        """Tokens of a slot."""
        first, count = len(self.ids), len(chunk.ids)
        places = range(chunk.start, chunk.end)
        self.ids += chunk.ids
        self.positions += places
        self.writes += places
        self.slots += [chunk.slot] * count
        self.segments.append(Segment(chunk.slot, first, count, chunk.end))
        self.wanted += range(first + count - chunk.wanted, first + count)

    def add_idle(self, slot: int) -> None:
        """A token of nobody."""
        self.ids.append(0)
        self.positions.append(0)
        self.writes.append(self.spare)
        self.slots.append(slot)

    @property
    def length(self) -> int:
        """Places that the longest of its rows has."""
        return max(segment.end for segment in self.segments)


class SlotDecoder:
    """All rows in one pass, over a cache of slots.

    Args:
        model: a causal model, in evaluation mode.
        places: tokens a row may have.

    Attributes:
        mixes: whether prompts and answers share a pass of as many tokens as there are. Else each chunk of a
            prompt has a pass of its own, and answers one in which each slot has a token, so that shapes, and
            with them the bits of a row, do not depend on the others.
    """

    def __init__(self, model: Any, slots: int, places: int, *, mixes: bool = False) -> None:
        self.model, self.device, self.mixes = model, model.device, mixes
        self._spare = -(-places // STRIDE) * STRIDE
        self.cache = SlotCache(model.config.get_text_config().num_hidden_layers, slots, self._spare)
        self._picks = _takes(model, "logits_to_keep")
        self._compiled: Callable[..., Tensor] | None = None

    def compile(self) -> str | None:
        """Compiles the pass in which each slot has a token; with CUDA graphs on a GPU. It stays as it was
        where that fails.

        Its numbers are those of before, to rounding. On a CPU all rows are then looked at in one kernel, and
        a row's last bits may depend on its neighbours. Prompts are read apart.

        Returns:
            What was wrong; None if nothing was.
        """

        def all_slots(ids: Tensor, positions: Tensor, slots: Tensor, writes: Tensor, length: int) -> Tensor:
            return self._logits(ids, Step(positions, slots, writes, length))

        tokens = [Chunk(slot, [0], 0) for slot in range(self.cache.slots)]
        expected = self._one_each(tokens)
        for layer in self.cache.layers:
            for states in (layer.keys, layer.values):  # CUDA graphs write where they wrote before
                torch._dynamo.mark_static_address(states)
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        self._compiled = torch.compile(all_slots, mode=mode)
        try:
            found = self._one_each(tokens)
            if self._spare > STRIDE:  # with another length: lengths are symbols from then on
                self._one_each([Chunk(0, [0], STRIDE)])
            problem = _difference(found, expected, self.model.dtype)
        except Exception as error:  # a compiler that is missing, and whatever it cannot do
            first, *_ = str(error).splitlines() or [""]
            problem = f"{type(error).__name__}: {first[:200]}"
        if problem is None:
            self.mixes = False
        else:
            self._compiled = None
        return problem

    def advance(self, chunks: Sequence[Chunk]) -> Tensor:
        """See `Decoder`."""
        if self.mixes:
            return self._together(chunks)
        slots = Counter(chunk.slot for chunk in chunks)
        ones = [one for one in chunks if len(one.ids) == 1 and one.wanted and slots[one.slot] == 1]
        found = dict(zip(map(id, ones), self._one_each(ones)[:, None] if ones else (), strict=True))
        for chunk in chunks:  # those of one slot in their order: each looks at those before
            if id(chunk) not in found:
                found[id(chunk)] = self._together([chunk])
        return torch.cat([found[id(chunk)] for chunk in chunks])

    def _together(self, chunks: Sequence[Chunk]) -> Tensor:
        """These chunks and nothing else."""
        batch = _Pass(self._spare)
        for chunk in chunks:
            batch.add(chunk)
        count, least = len(batch.wanted), 2 if self.mixes else 1  # one row has other bits than two
        batch.wanted += [0] * (least - count)
        if len(batch.ids) < least:
            batch.add_idle(chunks[0].slot)
        return self._run(batch, batch.wanted)[:count]

    def _one_each(self, chunks: Sequence[Chunk]) -> Tensor:
        """A token of each slot; those of idle ones take part."""
        batch, own = _Pass(self._spare), {chunk.slot: chunk for chunk in chunks}
        for slot in range(self.cache.slots):
            batch.add(own[slot]) if slot in own else batch.add_idle(slot)
        rows = [chunk.slot for chunk in chunks]
        if self._compiled is None and self.device.type == "cpu":
            logits = self._run(batch, None)
        else:
            logits = self._run_in_one_kernel(batch)
        return logits if rows == list(range(self.cache.slots)) else logits[rows]

    def free(self, slot: int) -> None:
        """Nothing: what stands in a slot is overwritten, and hidden until then."""

    def clear(self, slot: int) -> None:
        """See `Decoder`."""
        self.cache.clear(slot)

    def copy(self, slot: int, start: int, end: int) -> States | None:
        """See `Decoder`."""
        return self.cache.read(slot, start, end)

    def paste(self, slot: int, start: int, states: States) -> None:
        """See `Decoder`."""
        self.cache.write(slot, start, states)

    def _run(self, batch: _Pass, wanted: list[int] | None) -> Tensor:
        """Logits of these tokens of the pass, or of all."""
        step = Step(*self._places(batch), batch.length, tuple(batch.segments))
        ids = torch.tensor([batch.ids], device=self.device)
        return self._logits(ids, step, None if wanted is None else torch.tensor(wanted, device=self.device))

    def _run_in_one_kernel(self, batch: _Pass) -> Tensor:
        """Where every slot has a token, in their order."""
        ids, places = torch.tensor([batch.ids], device=self.device), self._places(batch)
        length = -(-batch.length // STRIDE) * STRIDE
        if self._compiled is None:
            return self._logits(ids, Step(*places, length))
        return self._compiled(ids, *places, length).clone()

    def _places(self, batch: _Pass) -> tuple[Tensor, Tensor, Tensor]:
        """Positions, slots and where keys and values go."""
        positions, slots, writes = (
            torch.tensor(each, device=self.device) for each in (batch.positions, batch.slots, batch.writes)
        )
        return positions[None], slots, writes

    def _logits(self, ids: Tensor, step: Step, wanted: Tensor | None = None) -> Tensor:
        """[tokens wanted, vocabulary], fp32."""
        options = {"logits_to_keep": wanted} if self._picks and wanted is not None else {}
        with at(step):
            output = self.model(
                input_ids=ids,
                position_ids=step.positions,
                past_key_values=self.cache,
                use_cache=True,
                **options,
            )
        logits: Tensor = output.logits[0]
        return (logits if options or wanted is None else logits[wanted]).float()


class PlainDecoder:
    """Each row by itself, with the cache that the model makes: slower, and right for every architecture."""

    def __init__(self, model: Any, slots: int, places: int) -> None:
        self.model, self.device = model, model.device
        self._caches: dict[int, Any] = {}

    def advance(self, chunks: Sequence[Chunk]) -> Tensor:
        """See `Decoder`."""
        return torch.cat([self._read(chunk) for chunk in chunks])

    def _read(self, chunk: Chunk) -> Tensor:
        cache = self._caches.get(chunk.slot) if chunk.start else None
        name = "cache_params" if _takes(self.model, "cache_params") else "past_key_values"
        output = self.model(
            input_ids=torch.tensor([list(chunk.ids)], device=self.device), use_cache=True, **{name: cache}
        )
        self._caches[chunk.slot] = getattr(output, name)
        logits: Tensor = output.logits[0, len(chunk.ids) - chunk.wanted :]
        return logits.float()

    def free(self, slot: int) -> None:
        """See `Decoder`."""
        self._caches.pop(slot, None)

    def clear(self, slot: int) -> None:
        """Nothing: each row has a cache of its own."""

    def copy(self, slot: int, start: int, end: int) -> States | None:
        """See `Decoder`."""
        return None

    def paste(self, slot: int, start: int, states: States) -> None:
        """Never called: `copy` gives nothing."""


def choose_decoder(model: Any, slots: int, places: int) -> tuple[Decoder, str | None]:
    """The fast decoder where a probe proves it right for this model, else the plain one and why.

    The model's attention is changed to `hanji_slots` in the first case.
    """
    own = model.config._attn_implementation
    if model not in _found:
        try:
            _found[model] = _problem(model, own)
        except Exception as error:  # each may refuse in its own way; the plain decoder is always right
            first, *_ = str(error).splitlines() or [""]
            _found[model] = f"{type(error).__name__}: {first[:120]}"
    problem = _found[model]
    if problem is None:
        model.set_attn_implementation(SLOT_ATTENTION)
        return SlotDecoder(model, slots, places, mixes=slots > 1 and is_invariant(model)), None
    model.set_attn_implementation(own)
    return PlainDecoder(model, slots, places), problem


def _problem(model: Any, own: str) -> str | None:
    """What differs between rows decoded in slots and whole rows read at once; None if nothing does."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None) or 0
    sizes = [size + (window if window <= 512 else 0) for size in _PROBE]
    rows = _rows(model, sizes)
    model.set_attn_implementation("eager" if own == "eager" else "sdpa" if model._supports_sdpa else "eager")
    expected = [model(input_ids=torch.tensor([row], device=model.device)).logits[0].float() for row in rows]
    model.set_attn_implementation(SLOT_ATTENTION)
    decoder = SlotDecoder(model, 3, max(sizes))
    for slot, (row, logits) in enumerate(zip(rows, expected, strict=True), start=1):
        read = [decoder.advance([Chunk(slot, row[a:b], a, b - a)]) for a, b in ((0, 4), (4, 7))]
        if problem := _difference(torch.cat(read), logits[:7], model.dtype):
            return f"prompts: {problem}"
    for step in range(7, min(sizes)):
        found = decoder.advance(
            [Chunk(slot, row[step : step + 1], step) for slot, row in ((1, rows[0]), (2, rows[1]))]
        )
        wanted = torch.stack([expected[0][step], expected[1][step]])
        if problem := _difference(found, wanted, model.dtype):
            return f"steps: {problem}"
    for step in range(min(sizes), sizes[0]):
        found = decoder.advance([Chunk(1, rows[0][step : step + 1], step)])
        if problem := _difference(found, expected[0][step : step + 1], model.dtype):
            return f"steps: {problem}"
    return None


@torch.inference_mode()
def is_invariant(model: Any) -> bool:
    """Whether the model is batch-invariant, as it is now: with packed weights, within `invariance.invariant`.

    Tried with passes of 2 to 146 tokens. Its attention is `hanji_slots`.
    """
    if model.device.type != "cpu":
        return False
    own, short, long = _rows(model, (9, 5, min(138, reads(model) or 138)))
    decoder = SlotDecoder(model, 3, len(long) + 1, mixes=True)
    first, second, brief, lengthy = (
        Chunk(0, own[:8], 0, 8),
        Chunk(0, own[8:], 8),
        Chunk(1, short, 0),
        Chunk(2, long, 0),
    )
    prompt, answer = (decoder.advance([chunk]) for chunk in (first, second))
    return (
        torch.equal(decoder.advance([first, brief])[:8], prompt)
        and torch.equal(decoder.advance([brief, second])[-1:], answer)
        and torch.equal(decoder.advance([lengthy, first])[-8:], prompt)
    )


def _rows(model: Any, sizes: Sequence[int]) -> list[list[int]]:
    """Tokens to probe with."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    return [torch.randint(0, vocabulary, (size,), generator=generator).tolist() for size in sizes]


def _difference(found: Tensor, expected: Tensor, dtype: torch.dtype) -> str | None:
    scale = float(expected.abs().max())
    rounding = 1e-4 if dtype == torch.float32 else 3e-2
    largest = float((found - expected).abs().max())
    return None if largest <= max(rounding, rounding * scale) else f"logits differ by {largest:.1e}"


def reads(model: Any) -> int | None:
    """Tokens that the model reads at most; None where it sets no limit."""
    config = model.config.get_text_config()
    limit: int | None = getattr(config, "max_position_embeddings", None)
    return limit


def head_size(model: Any) -> int:
    """Numbers of a key; 1 where the model has no attention."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or config.hidden_size
    return int(getattr(config, "head_dim", None) or config.hidden_size // heads)


def _takes(model: Any, name: str) -> bool:
    return name in inspect.signature(model.forward).parameters
