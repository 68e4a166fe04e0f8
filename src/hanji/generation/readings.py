"""What an encoder or a classifier makes of a text: hidden words, whether a text follows, labels."""

from __future__ import annotations

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
    labels = Labels.of_config(model.config)
    if labels is None:
        raise ModelError("this model's config does not say what its labels mean", value=type(model).__name__)
    is_reward = model.config.id2label[0] == "reward"
    if is_reward and tokenizer.chat_template is not None:
        if second is None:
            raise ConfigError(
                "a reward model scores an answer to a question", expected="two texts: question, answer"
            )
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": second}]
        ids, types = tokenizer.encode_chat(turns).ids.tolist(), None
    else:
        framed = frame_texts(tokenizer, [text], [second])
        ids, types = framed.ids.tolist(), _types(framed, tokenizer)
    scores: Tensor = _run(model, ids, types).logits[0].float()
    if labels.kind == "number":
        return [LabelProbability(model.config.id2label[0], float(scores[0]))]
    each = scores.softmax(-1) if labels.kind == "classes" else scores.sigmoid()
    named = [LabelProbability(name, p) for name, p in zip(labels.names, each.tolist(), strict=True)]
    return sorted(named, key=lambda label: -label.value)


def _types(framed: TokenRows, tokenizer: Encoder) -> list[int] | None:
    """Token types, where the tokenizer tells of two texts by them."""
    return segments(framed).tolist() if tokenizer.frame.has_segments else None


def _run(model: Any, ids: list[int], types: list[int] | None) -> Any:
    whole = opened(model, ids)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and len(whole) > context:
        raise ModelError(
            "the text is longer than the model reads",
            value=f"{len(whole)} tokens",
            expected=f"at most {context}",
        )
    options = {}
    if (
        types is not None
        and len(whole) == len(ids)
        and int(getattr(model.config, "type_vocab_size", 0) or 0) > 1
    ):
        options["token_type_ids"] = torch.tensor([types], device=model.device)
    with evaluating(model):
        return model(input_ids=torch.tensor([whole], device=model.device), **options)
