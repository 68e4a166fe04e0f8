"""Choosing the next token: the settings of one request, and the choice for many rows at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hanji.contracts.errors import ConfigError
from hanji.contracts.random_keys import mix, uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn, applied in the order of the attributes.

    Attributes:
        repetition_penalty: divides positive logits of tokens that stand in prompt or answer, and multiplies
            negative ones (Keskar et al. 2019).
        presence_penalty: taken from the logits of tokens that the answer has.
        frequency_penalty: the same, for each time.
        logit_bias: added to logits, by token.
        temperature: divides logits; 0 takes the most probable token.
        top_k: draws from so many most probable tokens; 0 from all.
        top_p: draws from the most probable tokens that together have this probability (Holtzman et al. 2019).
        min_p: draws from tokens of at least so much of the greatest probability.
        seed: the same gives the same answer, whatever else is being answered.
    """

    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, fine, expected in (
            ("repetition_penalty", self.repetition_penalty > 0, "more than 0"),
            ("presence_penalty", -2 <= self.presence_penalty <= 2, "from -2 to 2"),
            ("frequency_penalty", -2 <= self.frequency_penalty <= 2, "from -2 to 2"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 (the most probable token) or more"),
            ("top_k", self.top_k >= 0, "0 (all tokens) or more"),
            ("top_p", 0 < self.top_p <= 1, "more than 0, at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
        ):
            if not fine:
                raise ConfigError(
                    f"{name} is out of its range", where=name, value=getattr(self, name), expected=expected
                )

    @property
    def changes_logits(self) -> bool:
        """Whether logits are other than the model's before anything is drawn."""
        return bool(
            self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty or self.logit_bias
        )

    @property
    def narrows(self) -> bool:
        """Whether some tokens are never drawn."""
        return bool(self.top_k or self.top_p < 1 or self.min_p)


@dataclass(slots=True)
class Row:
    """What a choice depends on, besides the logits.

    Attributes:
        prompt: ids of the prompt.
        answer: ids of the answer so far.
        allowed: [vocabulary] bool, what a constraint allows now, or None.
    """

    sampling: Sampling
    prompt: Sequence[int]
    answer: Sequence[int]
    allowed: Tensor | None = None


def choose(logits: Tensor, rows: Sequence[Row]) -> list[int]:
    """A token for each row. A row's choice does not depend on the others.

    Args:
        logits: [rows, vocabulary] of the model, fp32; not changed.
    """
    if any(row.sampling.changes_logits or row.allowed is not None for row in rows):
        logits = logits.clone()
        for own, row in zip(logits, rows, strict=True):
            _adjust(own, row)
    chosen = _most_probable(logits)
    for narrows in (False, True):
        drawn = [
            index
            for index, row in enumerate(rows)
            if row.sampling.temperature > 0 and row.sampling.narrows == narrows
        ]
        if drawn:
            places = torch.tensor(drawn, device=logits.device)
            chosen[places] = _draw(logits[places], [rows[index] for index in drawn], narrows)
    return chosen.tolist()


def are_finite(logits: Tensor) -> list[bool]:
    """Of each row of [rows, vocabulary], whether all of it is."""
    finite: list[bool] = (
        np.isfinite(logits.numpy()).all(-1) if logits.is_cpu else torch.isfinite(logits.sum(-1))
    ).tolist()
    return finite


def _most_probable(logits: Tensor) -> Tensor:
    """[rows] int64. On a CPU NumPy looks through them in a tenth of PyTorch's time."""
    return torch.from_numpy(logits.numpy().argmax(-1)) if logits.is_cpu else logits.argmax(-1)


def _adjust(logits: Tensor, row: Row) -> None:
    """Penalties, bias and constraint of one row, in place."""
    sampling, device = row.sampling, logits.device
    if sampling.repetition_penalty != 1:
        ids = torch.tensor(sorted({*row.prompt, *row.answer}), device=device)
        ids = ids[ids < len(logits)]  # virtual tokens of a soft prompt have no logit
        own = logits[ids]
        penalty = sampling.repetition_penalty
        logits[ids] = torch.where(own > 0, own / penalty, own * penalty)
    if row.answer and (sampling.presence_penalty or sampling.frequency_penalty):
        counts = Counter(row.answer)
        times = torch.tensor(list(counts.values()), dtype=logits.dtype, device=device)
        logits[list(counts)] -= sampling.presence_penalty + sampling.frequency_penalty * times
    for token, bias in sampling.logit_bias.items():
        logits[token] += bias
    if row.allowed is not None:
        known = len(row.allowed)  # a model may have more logits than its tokenizer has tokens
        logits[:known].masked_fill_(~row.allowed.to(device), float("-inf"))
        logits[known:] = float("-inf")


def _draw(logits: Tensor, rows: Sequence[Row], narrows: bool) -> Tensor:
    """[rows] int64, each drawn by a number of its own: a hash of its seed and its place in the answer."""
    settings = [row.sampling for row in rows]

    def column(name: str) -> Tensor:
        values = [getattr(one, name) for one in settings]
        return torch.tensor(values, dtype=logits.dtype, device=logits.device)[:, None]

    scaled, order = logits / column("temperature"), None
    if narrows:
        scaled, order = scaled.sort(dim=-1, descending=True, stable=True)
        rank = torch.arange(scaled.shape[-1], device=logits.device)[None]
        top_k = column("top_k")
        scaled = scaled.masked_fill((top_k > 0) & (rank >= top_k), float("-inf"))
        probabilities = scaled.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        hidden = (before >= column("top_p")) & (rank > 0)
        hidden |= probabilities < column("min_p") * probabilities[:, :1]
        scaled = scaled.masked_fill(hidden, float("-inf"))
    cumulative = scaled.double().softmax(-1).cumsum(-1)
    seeds = np.array([one.seed & 0xFFFF_FFFF_FFFF_FFFF for one in settings], np.uint64)
    turns = np.array([len(row.answer) for row in rows], np.uint64)
    numbers = torch.from_numpy(uniform(mix(seeds, turns))).to(logits.device)[:, None]
    place = torch.searchsorted(cumulative, numbers * cumulative[:, -1:], right=True)
    place = place.clamp_max(logits.shape[-1] - 1)
    return (place if order is None else order.gather(-1, place))[:, 0]
