"""A whole model as transformers and vLLM load it: config, safetensors, tokenizer, generation settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import transformers
from transformers import AutoTokenizer

from hanji.contracts.progress import Progress
from hanji.export.comparison import Comparison, answers_of, compare, differs
from hanji.export.subject import TEXTS, Subject
from hanji.models.heads import CLASSES
from hanji.models.load import save_model

_TOLERANCE: Final = 1e-4
"""Of a LoRA in the weights against one beside them: the same sums in another order, in fp32."""


class Merged:
    """A model directory in fp32. A LoRA becomes part of the weights; adapters and soft prompts cannot."""

    ending = "-merged"
    mark = "config.json"

    def check(self, subject: Subject) -> None:
        """See `exporting.Exporter`: what cannot become part of the weights."""
        subject.check_whole()

    def write(self, subject: Subject, work: Path, target: Path, progress: Progress) -> None:
        """See `exporting.Exporter`."""
        progress.advance("loading", 0, 1)
        model = subject.whole()
        progress.advance("loading", 1, 1)
        save_model(model, work, generation=subject.tokenizer.generation_settings())
        subject.tokenizer.save(work)

    def compare(self, subject: Subject, work: Path, progress: Progress) -> list[Comparison]:
        """Plain transformers reads it into a fresh model and finds every weight; the tokenizer gives the same
        ids."""
        reader = f"transformers {transformers.__version__}"
        progress.note(f"comparing with {reader}")
        expected = subject.answers
        model, report = CLASSES[subject.head].from_pretrained(
            work, output_loading_info=True, trust_remote_code=False
        )
        if any(report.values()):
            raise differs(reader, "weights", {name: list(keys)[:3] for name, keys in report.items()}, "all")
        found = answers_of(model, subject.rows)
        return [
            compare(reader, f"logits of {len(found)} texts", found, expected, tolerance=_TOLERANCE),
            same_ids(reader, AutoTokenizer.from_pretrained(work, trust_remote_code=False), subject),
        ]


def same_ids(reader: str, hf: Any, subject: Subject) -> Comparison:
    """Holds the ids of a tokenizer that was read back against those of the model's.

    Raises:
        ModelError: they differ.
    """
    what = f"token ids of {len(TEXTS)} texts"
    for text in TEXTS:
        found, expected = hf(text).input_ids, subject.tokenizer.hf(text).input_ids
        if found != expected:
            raise differs(reader, what, found, str(expected))
    return Comparison(reader, what)
