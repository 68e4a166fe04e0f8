"""Who computes the next logits of many rows: all in one step (slots), or each by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from hanji.generation.slots import SLOT_ATTENTION, SlotCache, Step, at

States = list[tuple[Tensor, Tensor]]
"""Keys and values of some places, of each layer."""

_PROBE = (13, 9)
"""Tokens of the two rows that a probe reads and decodes."""
_STRIDE, _WIDE_STRIDE = 64, 512
"""A step looks at a multiple of so many places, for heads of up to 64 numbers and for wider ones. It matters
where one kernel looks at all rows (soft-capped scores, sinks). Measured on CPU: its bits do not change with
how many hidden places follow, where they come in such multiples; with other numbers they do, and an answer
would depend on the longest of its neighbours."""
_found: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()
"""What the probe found of models that were asked before."""


class Decoder(Protocol):
    """Reads prompts and takes steps, for a fixed number of slots."""

    def read(self, slot: int, ids: Sequence[int], start: int, *, every: bool) -> Tensor:
        """Reads `ids`, which stand from place `start` of the slot on.

        Returns:
            fp32 logits [tokens, vocabulary], or [1, vocabulary] of the last unless `every`.
        """

    def advance(self, tokens: Mapping[int, tuple[int, int]]) -> Tensor:
        """One step of these slots (slot → token, place): fp32 logits [slots, vocabulary], in their order."""

    def free(self, slot: int) -> None:
        """The row of this slot is over."""

    def clear(self, slot: int) -> None:
        """What the row of this slot has left is not finite, and must not reach the next."""

    def copy(self, slot: int, start: int, end: int) -> States | None:
        """Keys and values of these places, or None where they cannot be had."""

    def paste(self, slot: int, start: int, states: States) -> None:
        """Puts back what `copy` gave."""


class SlotDecoder:
    """All rows in one step, over a cache of slots.

    Args:
        model: a causal model, in evaluation mode.
        places: tokens a row may have.
    """

    def __init__(self, model: Any, slots: int, places: int) -> None:
        self.model, self.device = model, model.device
        self._stride = stride(model)
        self._spare = -(-places // self._stride) * self._stride
        self.cache = SlotCache(model.config.get_text_config().num_hidden_layers, slots, self._spare)
        self._keep = {"logits_to_keep": 1} if _takes(model, "logits_to_keep") else {}
        self._compiled: Callable[..., Tensor] | None = None

    def compile(self) -> str | None:
        """Compiles the step of all slots; with CUDA graphs on a GPU. It stays as it was where that fails.

        Its numbers are those of `advance` before, to rounding. On a CPU all rows are then looked at in one
        kernel, and a row's last bits may depend on its neighbours.

        Returns:
            What was wrong; None if nothing was.
        """

        def all_slots(ids: Tensor, positions: Tensor, writes: Tensor, length: int) -> Tensor:
            return self._run(ids, Step(None, positions, writes, length), {})

        tokens = dict.fromkeys(range(self.cache.slots), (0, 0))
        expected = self.advance(tokens)
        for layer in self.cache.layers:
            for states in (layer.keys, layer.values):  # CUDA graphs write where they wrote before
                torch._dynamo.mark_static_address(states)
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        self._compiled = torch.compile(all_slots, mode=mode)
        try:
            found = self.advance(tokens)
            if self._stride < self._spare:  # with another length: lengths are symbols from then on
                self.advance({0: (0, self._stride)})
            problem = _difference(found, expected, self.model.dtype)
        except Exception as error:  # a compiler that is missing, and whatever it cannot do
            first, *_ = str(error).splitlines() or [""]
            problem = f"{type(error).__name__}: {first[:200]}"
        if problem is not None:
            self._compiled = None
        return problem

    def read(self, slot: int, ids: Sequence[int], start: int, *, every: bool) -> Tensor:
        """See `Decoder`."""
        end = start + len(ids)
        positions = torch.arange(start, end, device=self.device)[None]
        step = Step(slot, positions, positions, end)
        whole = torch.tensor([list(ids)], device=self.device)
        logits = self._run(whole, step, {} if every else self._keep)[0]
        return logits if every else logits[-1:]

    def advance(self, tokens: Mapping[int, tuple[int, int]]) -> Tensor:
        """See `Decoder`. Idle slots take part, so that the shapes, and with them the bits of a row, stay."""
        ids = [[0] for _ in range(self.cache.slots)]
        positions = [[0] for _ in range(self.cache.slots)]
        writes = [[self._spare] for _ in range(self.cache.slots)]
        lengths = [0] * self.cache.slots
        for slot, (token, place) in tokens.items():
            ids[slot], positions[slot], writes[slot] = [token], [place], [place]
            lengths[slot] = place + 1
        places = [torch.tensor(each, device=self.device) for each in (ids, positions, writes)]
        length = -(-max(lengths) // self._stride) * self._stride
        if self._compiled is not None:
            logits = self._compiled(*places, length)[:, -1].clone()
        else:
            step = Step(None, places[1], places[2], length, tuple(lengths))
            logits = self._run(places[0], step, {})[:, -1]
        return logits if list(tokens) == list(range(self.cache.slots)) else logits[list(tokens)]

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

    def _run(self, ids: Tensor, step: Step, options: Mapping[str, Any]) -> Tensor:
        with at(step):
            output = self.model(
                input_ids=ids,
                position_ids=step.positions,
                past_key_values=self.cache,
                use_cache=True,
                **options,
            )
        return output.logits.float()  # type: ignore[no-any-return]


class PlainDecoder:
    """Each row by itself, with the cache that the model makes: slower, and right for every architecture."""

    def __init__(self, model: Any, slots: int, places: int) -> None:
        self.model, self.device = model, model.device
        self._caches: dict[int, Any] = {}

    def read(self, slot: int, ids: Sequence[int], start: int, *, every: bool) -> Tensor:
        """See `Decoder`."""
        cache = self._caches.get(slot) if start else None
        name = "cache_params" if _takes(self.model, "cache_params") else "past_key_values"
        output = self.model(
            input_ids=torch.tensor([list(ids)], device=self.device), use_cache=True, **{name: cache}
        )
        self._caches[slot] = getattr(output, name)
        logits: Tensor = output.logits[0].float()
        return logits if every else logits[-1:]

    def advance(self, tokens: Mapping[int, tuple[int, int]]) -> Tensor:
        """See `Decoder`."""
        return torch.cat(
            [self.read(slot, [token], place, every=False) for slot, (token, place) in tokens.items()]
        )

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
        return SlotDecoder(model, slots, places), None
    model.set_attn_implementation(own)
    return PlainDecoder(model, slots, places), problem


def _problem(model: Any, own: str) -> str | None:
    """What differs between rows decoded in slots and whole rows read at once; None if nothing does."""
    config = model.config.get_text_config()
    generator = torch.Generator().manual_seed(0)
    window = getattr(config, "sliding_window", None) or 0
    sizes = [size + (window if window <= 512 else 0) for size in _PROBE]
    rows = [torch.randint(0, config.vocab_size, (size,), generator=generator).tolist() for size in sizes]
    model.set_attn_implementation("eager" if own == "eager" else "sdpa" if model._supports_sdpa else "eager")
    expected = [model(input_ids=torch.tensor([row], device=model.device)).logits[0].float() for row in rows]
    model.set_attn_implementation(SLOT_ATTENTION)
    decoder = SlotDecoder(model, 3, max(sizes))
    for slot, (row, logits) in enumerate(zip(rows, expected, strict=True), start=1):
        read = [decoder.read(slot, row[:4], 0, every=True), decoder.read(slot, row[4:7], 4, every=True)]
        if problem := _difference(torch.cat(read), logits[:7], model.dtype):
            return f"prompts: {problem}"
    for step in range(7, min(sizes)):
        found = decoder.advance({1: (rows[0][step], step), 2: (rows[1][step], step)})
        wanted = torch.stack([expected[0][step], expected[1][step]])
        if problem := _difference(found, wanted, model.dtype):
            return f"steps: {problem}"
    for step in range(min(sizes), sizes[0]):
        found = decoder.advance({1: (rows[0][step], step)})
        if problem := _difference(found, expected[0][step : step + 1], model.dtype):
            return f"steps: {problem}"
    return None


def _difference(found: Tensor, expected: Tensor, dtype: torch.dtype) -> str | None:
    scale = float(expected.abs().max())
    rounding = 1e-4 if dtype == torch.float32 else 3e-2
    largest = float((found - expected).abs().max())
    return None if largest <= max(rounding, rounding * scale) else f"logits differ by {largest:.1e}"


def head_size(model: Any) -> int:
    """Numbers of a key; 1 where the model has no attention."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or config.hidden_size
    return int(getattr(config, "head_dim", None) or config.hidden_size // heads)


def stride(model: Any) -> int:
    """Places come in multiples of so many."""
    return _STRIDE if head_size(model) <= 64 else _WIDE_STRIDE


def _takes(model: Any, name: str) -> bool:
    return name in inspect.signature(model.forward).parameters
