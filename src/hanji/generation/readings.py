"""What an encoder or a classifier makes of a text: hidden words, whether a text follows, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hanji.contracts.errors import ConfigError, ModelError
from hanji.contracts.labels import Labels
from hanji.contracts.modes import evaluating
from hanji.contracts.protocols import Encoder
from hanji.contracts.rows import TokenRows
from hanji.generation.engine import opened
from hanji.generation.probabilities import NextToken
from hanji.models.heads import RELATION_HEADS
from hanji.objectives.framing import frame_ids, frame_texts, segments

MASK = "[MASK]"
"""How a hidden token may be written, whatever the tokenizer calls it."""
_TOGETHER = 16
"""Texts that a classifier reads at once."""


@dataclass(frozen=True, slots=True)
class LabelProbability:
    """A label and its probability; of numbers, the score itself."""

    label: str
    value: float


def fill_masks(model: Any, tokenizer: Encoder, text: str, top: int = 10) -> list[list[NextToken]]:
    """For each `[MASK]` in `text`, the most probable tokens that it hides, most probable first.

    Raises:
        ConfigError: no mask in the text, or no mask token in the tokenizer.
        ModelError: a text longer than the model reads.
    """
    if tokenizer.mask_id is None:
        raise ConfigError("this tokenizer has no mask token", expected="a model trained with objective mlm")
    own = tokenizer.decode([tokenizer.mask_id])
    parts = text.replace(own, MASK).split(MASK)
    if len(parts) == 1:
        raise ConfigError(
            "nothing is hidden in the text", value=text, expected=f"{MASK} in the place of a word"
        )
    ids: list[int] = []
    for index, part in enumerate(parts):
        ids += [tokenizer.mask_id] if index else []
        ids += tokenizer.encode_texts([part])[0].tolist()
    framed = frame_ids(
        tokenizer, (np.array(ids, np.int32), np.array([len(ids)])),
        (np.zeros(0, np.int32), np.zeros(1, np.int64)), np.zeros(1, np.bool_),
    )  # fmt: skip
    output = _run(model, framed.ids.tolist(), None)
    logits = output.prediction_logits if hasattr(output, "prediction_logits") else output.logits
    at = np.flatnonzero(framed.ids == tokenizer.mask_id)
    rows = logits[0, logits.shape[1] - len(framed.ids) :][torch.from_numpy(at)].float().softmax(-1)
    found = rows.topk(min(top, rows.shape[-1]))
    return [
        [NextToken(token, tokenizer.decode([token]), value) for token, value in zip(ids, values, strict=True)]
        for ids, values in zip(found.indices.tolist(), found.values.tolist(), strict=True)
    ]


def follows(model: Any, tokenizer: Encoder, first: str, second: str) -> float:
    """The probability that `second` stands after `first`, from a model with a head for two texts.

    Raises:
        ModelError: the model has no such head, or the texts are longer than it reads.
    """
    name = RELATION_HEADS.get(model.config.model_type)
    if name is None or not type(model).__name__.endswith("ForPreTraining"):
        raise ModelError(
            "this model was not trained on pairs of texts",
            value=type(model).__name__,
            expected="a model trained with objective mlm+nsp or mlm+sop",
        )
    framed = frame_texts(tokenizer, [first], [second])
    output = _run(model, framed.ids.tolist(), _types(framed, tokenizer))
    return float(getattr(output, name)[0].float().softmax(-1)[0])


def label_probabilities(
    model: Any, tokenizer: Encoder, text: str, second: str | None = None
) -> list[LabelProbability]:
    """The labels of a text, or of two, most probable first; of numbers, the score.

    A reward model reads `text` as a question and `second` as its answer.

    Raises:
        ModelError: the model is no classifier of ours, or the text is longer than it reads.
    """
    return many_label_probabilities(model, tokenizer, [(text, second)])[0]


def many_label_probabilities(
    model: Any, tokenizer: Encoder, pairs: Sequence[tuple[str, str | None]]
) -> list[list[LabelProbability]]:
    """The same of many texts, in their order; those of like length are read together.

    Raises:
        ModelError: as `label_probabilities`, before anything is read.
    """
    labels = Labels.of_config(model.config)
    if labels is None:
        raise ModelError("this model's config does not say what its labels mean", value=type(model).__name__)
    rows = [_classified(model, tokenizer, text, second) for text, second in pairs]
    together = _TOGETHER if model.config.pad_token_id == tokenizer.pad_id else 1
    order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
    found: list[list[LabelProbability]] = [[] for _ in rows]
    for start in range(0, len(order), together):
        chosen = order[start : start + together]
        scores = _read_together(model, tokenizer.pad_id, [rows[index] for index in chosen])
        for index, own in zip(chosen, scores, strict=True):
            found[index] = _named(labels, model, own)
    return found


def _classified(
    model: Any, tokenizer: Encoder, text: str, second: str | None
) -> tuple[list[int], list[int] | None]:
    """What a classifier reads: ids, and token types where the tokenizer tells of two texts by them."""
    if model.config.id2label[0] == "reward" and tokenizer.chat_template is not None:
        if second is None:
            raise ConfigError(
                "a reward model scores an answer to a question", expected="two texts: question, answer"
            )
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": second}]
        return _whole(model, tokenizer.encode_chat(turns).ids.tolist()), None
    framed = frame_texts(tokenizer, [text], [second])
    ids = framed.ids.tolist()
    whole, types = _whole(model, ids), _types(framed, tokenizer)
    return whole, types if len(whole) == len(ids) else None


def _read_together(model: Any, padding: int, rows: Sequence[tuple[list[int], list[int] | None]]) -> Tensor:
    """[rows, labels] fp32. Padding stands on the right, and is seen by nobody."""
    longest = max(len(ids) for ids, _ in rows)
    device = model.device
    options: dict[str, Tensor] = {}
    if len(rows) > 1:
        lengths = torch.tensor([len(ids) for ids, _ in rows], device=device)
        options["attention_mask"] = (torch.arange(longest, device=device)[None] < lengths[:, None]).long()
    if _reads_types(model) and all(types is not None for _, types in rows):
        padded = [[*(types or ()), *[0] * (longest - len(ids))] for ids, types in rows]
        options["token_type_ids"] = torch.tensor(padded, device=device)
    ids = torch.tensor([[*ids, *[padding] * (longest - len(ids))] for ids, _ in rows], device=device)
    with evaluating(model):
        scores: Tensor = model(input_ids=ids, **options).logits.float()
    return scores


def _named(labels: Labels, model: Any, scores: Tensor) -> list[LabelProbability]:
    if labels.kind == "number":
        return [LabelProbability(model.config.id2label[0], float(scores[0]))]
    each = scores.softmax(-1) if labels.kind == "classes" else scores.sigmoid()
    named = [LabelProbability(name, p) for name, p in zip(labels.names, each.tolist(), strict=True)]
    return sorted(named, key=lambda label: -label.value)


def _types(framed: TokenRows, tokenizer: Encoder) -> list[int] | None:
    """Token types, where the tokenizer tells of two texts by them."""
    return segments(framed).tolist() if tokenizer.frame.has_segments else None


def _run(model: Any, ids: list[int], types: list[int] | None) -> Any:
    whole = _whole(model, ids)
    options = {}
    if types is not None and len(whole) == len(ids) and _reads_types(model):
        options["token_type_ids"] = torch.tensor([types], device=model.device)
    with evaluating(model):
        return model(input_ids=torch.tensor([whole], device=model.device), **options)


def _reads_types(model: Any) -> bool:
    return int(getattr(model.config, "type_vocab_size", 0) or 0) > 1


def _whole(model: Any, ids: list[int]) -> list[int]:
    """With the soft prompt before it, where the model has one.

    Raises:
        ModelError: more than the model reads.
    """
    whole = opened(model, ids)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and len(whole) > context:
        raise ModelError(
            "the text is longer than the model reads",
            value=f"{len(whole)} tokens",
            expected=f"at most {context}",
        )
    return whole
