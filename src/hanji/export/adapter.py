"""What a method added to a base, as a PEFT directory that stands by itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import peft
import torch
from peft import PeftModel
from transformers import BitsAndBytesConfig

from hanji.artifacts.models import BASE, base_of
from hanji.contracts.errors import ModelError
from hanji.contracts.progress import Progress
from hanji.export.comparison import Comparison, answers_of, compare
from hanji.export.subject import Subject, added_kind, refuse
from hanji.methods.saved import ADDED
from hanji.models.heads import CLASSES

WEIGHTS: Final = "adapter_model.safetensors"
_TOLERANCE: Final = 1e-4
_INNER: Final = "base"
"""The directory of a base that lies within the adapter's."""
_IN_BFLOAT16: Final = "support_avx512bf16_for_cpu"
"""Of bitsandbytes' layers: outside of training they round to bfloat16 on CPUs that have instructions for it;
what is compared is the fp32 in which the adapter learned."""


class Adapter:
    """An adapter directory of PEFT: a LoRA, bottleneck adapters, or a soft prompt, with the tokenizer.

    A base that has no place of its own, as one that another LoRA was merged into, goes with it.

    Args:
        base: where the base model will be found: a directory, or a hub id; by default where it is now.
    """

    ending = "-adapter"
    mark = ADDED

    def __init__(self, base: str | None = None) -> None:
        self.base = base

    def check(self, subject: Subject) -> None:
        """See `exporting.Exporter`: there must be something added, and a base that PEFT can name."""
        if not subject.is_added:
            raise refuse(
                "this model is whole: nothing was added to a base",
                value=subject.source,
                expected="a model of method: lora, adapter or prompt",
                hint="export it with --to merged",
            )
        if self.base is None and self._place(subject).endswith(".gguf"):
            raise refuse(
                "its base is a GGUF file, and PEFT cannot name one",
                value=self._place(subject),
                hint="name the same model's directory or hub id with --base",
            )
        if not (subject.directory / WEIGHTS).is_file():
            raise ModelError("this adapter has no weights", where=str(subject.directory / WEIGHTS))

    def write(self, subject: Subject, work: Path, target: Path, progress: Progress) -> None:
        """The files of the artifact, with the base's place as it will be."""
        own = self._place(subject)
        within = self.base is None and Path(own).parent == subject.directory
        place = self.base or (str(target.absolute() / _INNER) if within else own)
        if within:
            shutil.copytree(own, work / _INNER)
        shutil.copyfile(subject.directory / WEIGHTS, work / WEIGHTS)
        told: dict[str, Any] = json.loads((subject.directory / ADDED).read_text(encoding="utf-8"))
        told["base_model_name_or_path"] = place
        text = json.dumps(told, indent=2, sort_keys=True, ensure_ascii=False)
        (work / ADDED).write_text(text + "\n", encoding="utf-8")
        if (subject.directory / BASE).is_file():
            about = base_of(subject.directory)
            replace(about, source=_INNER if within else place, artifact="").write(work)
        subject.tokenizer.save(work)

    def compare(self, subject: Subject, work: Path, progress: Progress) -> list[Comparison]:
        """Plain PEFT puts it on the base; of bottleneck adapters it knows since hanji was imported."""
        reader = f"PEFT {peft.__version__}"
        if added_kind(work) == "BOTTLENECK":
            reader += " after `import hanji`"
        progress.note(f"comparing with {reader}")
        expected = subject.answers
        is_classifier = subject.head == "classification"
        options: dict[str, Any] = {"num_labels": subject.config.num_labels} if is_classifier else {}
        quantization = base_of(subject.directory).quantization
        if quantization is not None:
            progress.note("the base is quantised by transformers, as base.json says")
            options["quantization_config"] = BitsAndBytesConfig(**quantization)
            options["dtype"] = torch.float32
        base = CLASSES[subject.head].from_pretrained(
            self._base_here(subject, work, progress), trust_remote_code=False, **options
        )
        for module in base.modules():
            if hasattr(module, _IN_BFLOAT16):
                setattr(module, _IN_BFLOAT16, False)
        found = answers_of(PeftModel.from_pretrained(base, str(work)), subject.rows)
        return [compare(reader, f"logits of {len(found)} texts", found, expected, tolerance=_TOLERANCE)]

    def _place(self, subject: Subject) -> str:
        return base_of(subject.directory).place(subject.directory)

    def _base_here(self, subject: Subject, work: Path, progress: Progress) -> str:
        """The base that was named, where it is on this machine; else the one that is."""
        if (work / _INNER).is_dir():
            return str(work / _INNER)
        own = self._place(subject)
        if self.base is None or Path(self.base).is_dir():
            return self.base or own
        progress.note(f"{self.base} is no directory of this machine: compared on {own} instead")
        return own
