"""What the stages of the grid are made of: rows of every kind, tokenizers, and blank base models."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from grid.cells import DECODERS, shape
from hanji.data.prepare import prepare
from hanji.data.sources import Source
from hanji.models.load import blank_model, save_model
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import train_tokenizer

ROWS: Final = 16
VOCABULARY: Final = 320
_THINGS: Final = ("paper", "ink", "brush", "stone", "river", "bridge")
_GOOD, _BAD = ("fine", "bright", "calm"), ("poor", "dull", "rough")


@dataclass(frozen=True)
class Material:
    """Directories that all cells share; each base model is made when the first cell asks for it.

    Attributes:
        root: where everything lies.
        data: kind of row → prepared data.
    """

    root: Path
    data: dict[str, Path]

    @classmethod
    def make(cls, root: Path) -> Material:
        """Prepares rows of every kind, and trains a tokenizer for decoders and one for encoders."""
        data = {}
        for kind, rows in all_rows().items():
            source = root / f"{kind}.jsonl"
            source.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
            data[kind] = root / kind
            prepare([Source(str(source))], data[kind])
        for algorithm in ("bpe", "wordpiece"):
            tokenizer = train_tokenizer(texts(), algorithm=algorithm, vocab_size=VOCABULARY)
            tokenizer.save(root / algorithm)
        return cls(root, data)

    def tokenizer(self, family: str) -> Path:
        """The directory of the family's tokenizer."""
        return self.root / ("bpe" if family in DECODERS else "wordpiece")

    def base(self, family: str) -> Path:
        """A model of the family that no objective has seen, as a stage would leave it.

        Its weights are larger than usual, so that what is learned in a few steps is seen in its output.
        """
        directory = self.root / "bases" / family
        if not directory.is_dir():
            tokenizer = Tokenizer.load(self.tokenizer(family))
            head = "causal" if family in DECODERS else "masked"
            wide = {"initializer_range": 0.2}
            model = blank_model(shape(family), tokenizer, head=head, overrides=wide)
            save_model(model, directory, generation=tokenizer.generation_settings())
            tokenizer.save(directory)
        return directory


def all_rows() -> dict[str, list[dict[str, Any]]]:
    """A few rows of each kind; what is to be learned is in the words."""
    draw = random.Random(0)

    def sentence(words: tuple[str, ...]) -> str:
        """Nearly every word tells which kind it is."""
        return f"{draw.choice(words)} {draw.choice(words)} {draw.choice(_THINGS)}, {draw.choice(words)}."

    def asked(number: int) -> str:
        return f"How is the {_THINGS[number % len(_THINGS)]} of day {number}?"

    def two_sentences(number: int) -> dict[str, Any]:
        words = (_GOOD, _BAD)[number % 4 == 0]
        label = ("good", "bad")[number % 4 == 0]
        return {"text": f"{sentence(words)} {number}", "text_pair": sentence(words), "label": label}

    return {
        "text": [{"text": f"Day {n}. " + " ".join(sentence(_GOOD) for _ in range(4))} for n in range(ROWS)],
        "chat": [{"question": asked(n), "answer": sentence(_GOOD)} for n in range(ROWS)],
        "labelled": [two_sentences(number) for number in range(ROWS)],
        "preference": [
            {"prompt": asked(n), "chosen": sentence(_GOOD), "rejected": sentence(_BAD), "margin": n % 3 / 2}
            for n in range(ROWS)
        ],
    }


def texts() -> Iterator[str]:
    """All that is said in the rows."""
    for rows in all_rows().values():
        for row in rows:
            yield " ".join(value for value in row.values() if isinstance(value, str))
