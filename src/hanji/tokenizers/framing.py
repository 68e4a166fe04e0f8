"""The special tokens that a tokenizer puts around texts: found by asking it, and checked on other texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from hanji.contracts.errors import ModelError
from hanji.contracts.frame import Frame

EncodeTexts = Callable[[Sequence[str]], tuple[NDArray[np.int32], NDArray[np.int64]]]

_PROBES: Final = (
    ("a blank sheet", "ink"),
    ("12, 345", "Paper is made by hand."),
    ("한지", "닥나무로 만든다."),
    ("x", "a blank sheet of paper, and ink to write on it"),
)
"""Pairs of texts of uneven lengths and several scripts, without anything that looks like a special token."""


@dataclass(frozen=True, slots=True)
class _Probe:
    """What the tokenizer makes of two texts.

    Attributes:
        first, second: their ids without special tokens.
        alone: the first with special tokens. `pair`: both.
        types: token types of the pair, empty where the tokenizer gives none.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    alone: tuple[int, ...]
    pair: tuple[int, ...]
    types: tuple[int, ...]


def find_frame(hf: PreTrainedTokenizerFast, encode_texts: EncodeTexts) -> Frame:
    """What `hf` itself puts before, between and after texts, and whether it tells them apart by type.

    Args:
        encode_texts: plain texts to ids, without special tokens: what a frame is put around.

    Raises:
        ModelError: what it puts there depends on the texts, or differs between one text and two.
    """
    probes = [_ask(hf, encode_texts, *texts) for texts in _PROBES]
    for frame in _candidates(probes[0]):
        if all(_fits(frame, probe) for probe in probes):
            return frame
    raise ModelError(
        "this tokenizer does not put the same special tokens around every text, so rows cannot be built from "
        "tokens that are stored without them",
        value=hf.convert_ids_to_tokens(list(probes[0].pair)),
        expected="one text as BEFORE text AFTER, two as BEFORE text BETWEEN text AFTER, with token types 0 "
        "up to the second text and 1 from there on, if any",
        hint="Take another tokenizer, or train one here.",
    )


def _ask(hf: PreTrainedTokenizerFast, encode_texts: EncodeTexts, first: str, second: str) -> _Probe:
    ids, lengths = encode_texts([first, second])
    cut = int(lengths[0])
    pair = hf(first, second)
    return _Probe(
        first=tuple(ids[:cut].tolist()),
        second=tuple(ids[cut:].tolist()),
        alone=tuple(hf(first).input_ids),
        pair=tuple(pair.input_ids),
        types=tuple(pair.get("token_type_ids", ())),
    )


def _candidates(probe: _Probe) -> Iterator[Frame]:
    """Every frame that the first text alone allows: its ids may occur in more than one place."""
    size = len(probe.first)
    for start in range(len(probe.alone) - size + 1):
        if probe.alone[start : start + size] == probe.first:
            before, after = probe.alone[:start], probe.alone[start + size :]
            inner = probe.pair[len(before) + size : len(probe.pair) - len(after) - len(probe.second)]
            yield Frame(before, inner, after, has_segments=any(probe.types))


def _fits(frame: Frame, probe: _Probe) -> bool:
    opening = frame.before + probe.first + frame.between
    closing = probe.second + frame.after
    types = (0,) * len(opening) + (int(frame.has_segments),) * len(closing)
    return (
        frame.before + probe.first + frame.after == probe.alone
        and opening + closing == probe.pair
        and (types == probe.types if probe.types else not frame.has_segments)
    )
