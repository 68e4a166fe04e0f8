"""The model that is exported: what it is, what it says, and itself whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from hanji.artifacts.models import config_of, head_in, is_added, load_to_train, load_trained
from hanji.contracts.errors import ConfigError, ModelError
from hanji.contracts.protocols import Head
from hanji.export.comparison import Answers, Row, answers_of
from hanji.methods.saved import ADDED, load_merged
from hanji.tokenizers.tokenizer import Tokenizer

TEXTS: Final = (
    "A blank sheet of paper, made by hand, lasts a thousand years; it isn't cheap.",
    "한지는 닥나무 껍질로 만든 종이이고, 천 년을 간다.",
    "def fold(sheet, times=3):\n    return [sheet / 2**n for n in range(times)]  # 12,345\n",
    "Sign here ✍️ 👩‍🎨 — naïve café, 漢紙\t  twice  ",
)
"""What is asked of the model before and after: two languages, code, and characters of several tokens."""
_LONGEST_ROW: Final = 64
_BESIDE: Final = ("PROMPT_TUNING", "BOTTLENECK")
"""PEFT's names of what stays beside its base."""


@dataclass(frozen=True)
class Subject:
    """A model by its place; nothing heavy is read before it is asked for.

    Attributes:
        source: a model directory, an adapter directory, a hub id, or a `.gguf` file.
    """

    source: str

    @property
    def is_added(self) -> bool:
        """Whether it is a base and what a method added to it."""
        return is_added(self.source)

    @property
    def directory(self) -> Path:
        """Where it lies, if it lies in a directory."""
        return Path(self.source)

    @cached_property
    def config(self) -> PretrainedConfig:
        """Of the whole model."""
        return config_of(self.source)

    @cached_property
    def head(self) -> Head:
        """What it ends in."""
        return head_in(self.source)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return Tokenizer.load(self.source)

    @cached_property
    def rows(self) -> list[Row]:
        """`TEXTS` as the model reads them, with the tokenizer's special tokens, cut to a few tokens."""
        context: int = getattr(self.config.get_text_config(), "max_position_embeddings", None) or _LONGEST_ROW
        has_types = getattr(self.config, "type_vocab_size", 0) > 1
        wanted = ["input_ids", "attention_mask", *(["token_type_ids"] if has_types else [])]
        told = [self.tokenizer.hf(text) for text in TEXTS]
        longest = min(_LONGEST_ROW, context // 2)  # the other half is for virtual tokens
        return [{name: row[name][:longest] for name in wanted if name in row} for row in told]

    @cached_property
    def answers(self) -> Answers:
        """The logits of every row by the model as it was trained: what every export is compared with."""
        return answers_of(load_trained(self.source), self.rows)

    def check_whole(self) -> None:
        """Refuses what cannot become part of a base's weights; neither is loaded.

        Raises:
            ModelError: the method's own reason.
        """
        if self.is_added and added_kind(self.directory) in _BESIDE:
            load_merged(nn.Module(), self.directory)  # refuses these kinds before it looks at the model

    def whole(self) -> PreTrainedModel:
        """The model with what was added in its own weights, in fp32.

        Raises:
            ModelError: what was added cannot become part of them.
        """
        loaded = load_to_train(self.source, self.head, labels=None, pad_id=self.tokenizer.pad_id, seed=0)
        return loaded.model.eval()


def added_kind(directory: Path) -> str:
    """What a method added, by PEFT's name.

    Raises:
        ModelError: the file that says so cannot be read.
    """
    place = directory / ADDED
    try:
        return str(json.loads(place.read_text(encoding="utf-8"))["peft_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError("this is no adapter of PEFT", where=str(place)) from error


def refuse(problem: str, *, value: Any, expected: str | None = None, hint: str | None = None) -> ConfigError:
    """The error of an export that cannot be."""
    return ConfigError(problem, where="--to", value=value, expected=expected, hint=hint)
