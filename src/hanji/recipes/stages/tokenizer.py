"""`tokenizer`: one is trained on prepared data, or an existing one taken; with its fertility by script."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from hanji.artifacts.artifact import Artifact
from hanji.data.prepared import read_rows, splits
from hanji.recipes.context import StageContext
from hanji.recipes.schema import TokenizerStage
from hanji.recipes.stages.tokens import location, prepared
from hanji.tokenizers.fertility import fertility
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer

FERTILITY_CHARACTERS: Final = 2_000_000
"""Fertility is measured on this much text at most: of held-out rows, or of training rows without them."""


def make(
    stage: TokenizerStage, inputs: Mapping[str, Artifact | str], work: Path, context: StageContext
) -> dict[str, Any]:
    """Writes the tokenizer's files, and `fertility.json` where there is data to measure it on."""
    data = prepared(inputs[stage.data]).path if stage.data else None
    if stage.source is not None:
        tokenizer = Tokenizer.load(location(inputs[stage.source]))
    else:
        assert data is not None, "the schema asks for data or source"
        tokenizer = train_tokenizer(
            _texts(data, "train"),
            algorithm=stage.algorithm,
            vocab_size=stage.vocab_size,
            pattern=stage.pattern,
            special_tokens=stage.special_tokens,
            min_frequency=stage.min_frequency,
            progress=context.progress,
        )
    for note in tokenizer.notes:
        context.progress.note(note)
    tokenizer.save(work)
    metrics: dict[str, Any] = {"vocabulary_size": tokenizer.vocabulary_size}
    if data is not None:
        split = "validation" if "validation" in splits(data) else "train"
        measured = fertility(tokenizer, _texts(data, split, FERTILITY_CHARACTERS))
        text = json.dumps({"split": split, "scripts": measured}, ensure_ascii=False, indent=2)
        (work / "fertility.json").write_text(text + "\n", encoding="utf-8")
        metrics["fertility"] = measured
    return metrics


def _texts(data: Path, split: str, characters: float = float("inf")) -> Iterator[str]:
    """The texts of rows, and what is said in chats, until there are so many characters."""
    for batch in read_rows(data, split):
        for row in batch:
            for text in _texts_of(row):
                if characters <= 0:
                    return
                characters -= len(text)
                yield text


def _texts_of(row: Mapping[str, Any]) -> list[str]:
    texts = [row[name] for name in ("text", "text_pair") if row.get(name)]
    messages = [message for name in ("messages", "chosen", "rejected") for message in row.get(name) or ()]
    return texts + [message["content"] for message in messages if message.get("content")]
