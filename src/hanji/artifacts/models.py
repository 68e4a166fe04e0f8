"""The model in a directory: whole, or what a method added to a base, whose place and weights it knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import PretrainedConfig, PreTrainedModel

from hanji.contracts.errors import ModelError
from hanji.contracts.labels import Labels
from hanji.contracts.protocols import Head
from hanji.methods.quantised import INSTALL, quantise, why_not
from hanji.methods.saved import ADDED, load_added, load_merged
from hanji.models.heads import head_of
from hanji.models.identity import weights_digest
from hanji.models.load import Loaded, load_model, load_with_head, read_config

BASE: Final = "base.json"
_HEADS: Final[Mapping[str | None, Head]] = {"SEQ_CLS": "classification", "CAUSAL_LM": "causal"}
"""By PEFT's word for the task, where there is no `base.json`."""


@dataclass(frozen=True, slots=True)
class Base:
    """What an adapter, or a soft prompt, was trained on; kept beside it in `base.json`.

    Attributes:
        source: the base model's directory (`base` lies within the adapter's), hub id, or `.gguf` file.
        artifact: `recipe/stage/fingerprint` of it in the same workspace, or nothing.
        weights: `weights_digest` of it.
        head: what the whole ends in. `new`: modules that the base has not.
        labels: kind and names, of a classifier.
        pad_id: the padding token.
        quantization: how the base was quantised before anything was added, as the arguments of transformers'
            `BitsAndBytesConfig`; None: it was not. `weights` is of the base before that.
    """

    source: str
    artifact: str
    weights: str
    head: Head
    new: tuple[str, ...]
    labels: Mapping[str, Any] | None
    pad_id: int
    quantization: Mapping[str, Any] | None = None

    def write(self, directory: Path) -> None:
        """Writes `base.json` into `directory`."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (directory / BASE).write_text(text + "\n", encoding="utf-8")

    @property
    def own_labels(self) -> Labels | None:
        """The labels as such."""
        return None if self.labels is None else Labels(self.labels["kind"], tuple(self.labels["names"]))

    def place(self, directory: Path) -> str:
        """Where the base is now: in the workspace of the adapter, beside it, or where it was."""
        if self.artifact and len(directory.resolve().parents) > 2:
            moved = directory.resolve().parents[2] / self.artifact
            if moved.is_dir():
                return str(moved)
        beside = directory / self.source
        return str(beside) if self.source and beside.is_dir() else self.source


def is_added(source: str | Path) -> bool:
    """Whether a directory holds what a method added to a model, rather than a model."""
    return (Path(source) / ADDED).is_file()


def load_trained(source: str | Path, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A trained model with the head that it was saved with, whatever method it was trained by.

    Raises:
        ModelError: nothing loadable is there, or its base is another than it was.
    """
    if not is_added(source):
        return load_model(source, dtype=dtype)
    directory = Path(source)
    model: PreTrainedModel = load_added(_load_base(directory, dtype), directory)
    model.train()
    return model


def load_to_train(
    source: str | Path,
    head: Head,
    *,
    labels: Labels | None,
    pad_id: int,
    seed: int,
    dtype: torch.dtype | None = torch.float32,
) -> Loaded:
    """A trained model that is to be trained further; a LoRA is merged into its base first, and then in fp32.

    Arguments and errors are those of `models.load.load_with_head`; besides:

    Raises:
        ModelError: an adapter or a soft prompt, which cannot become part of the model's weights.
    """
    if not is_added(source):
        return load_with_head(source, head, labels=labels, pad_id=pad_id, seed=seed, dtype=dtype)
    directory = Path(source)
    about = base_of(directory)
    if about.head != head:
        raise ModelError(
            f"this adapter is of a model with a {about.head} head, and a {head} head is wanted",
            where=str(directory),
            hint="save it merged (merge: true), and start from that",
        )
    merged = load_merged(_load_base(directory, torch.float32), directory)
    return Loaded(merged.requires_grad_(True), ())


def config_of(source: str | Path) -> PretrainedConfig:
    """The config of a trained model, or of an adapter's base; weights are not read.

    Raises:
        ModelError: there is none.
    """
    if not is_added(source):
        return read_config(source)
    about = base_of(Path(source))
    config = read_config(about.place(Path(source)))
    labels = about.own_labels
    for name, value in (labels.config_fields() if labels else {}).items():
        setattr(config, name, value)
    return config


def head_in(source: str | Path) -> Head:
    """What a trained model ends in."""
    return base_of(Path(source)).head if is_added(source) else head_of(read_config(source))


def base_of(directory: Path) -> Base:
    """What is known of an adapter's base; of one that was not made here, what PEFT says.

    Raises:
        ModelError: the file cannot be read.
    """
    place = directory / BASE
    try:
        if place.is_file():
            known = json.loads(place.read_text(encoding="utf-8"))
            return Base(**{**known, "new": tuple(known["new"])})
        said = json.loads((directory / ADDED).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError("what this adapter belongs to cannot be read", where=str(place)) from error
    source = said.get("base_model_name_or_path") or ""
    task = said.get("task_type")
    head = _HEADS[task] if task in _HEADS else head_of(read_config(source))
    return Base(source, "", "", head, (), None, 0)


def _load_base(directory: Path, dtype: torch.dtype) -> PreTrainedModel:
    about = base_of(directory)
    place = about.place(directory)
    pad_id = about.pad_id if about.weights else None
    if about.quantization is not None and (reason := why_not()):
        raise ModelError(
            "this adapter learned on a base in 4 bits, and gives other outputs on any other",
            where=str(directory / BASE),
            value=reason,
            expected=INSTALL,
            hint="or serve what `hanji export --to merged` makes of it where bitsandbytes runs",
        )
    stored = dtype if about.quantization is None else None
    loaded = load_with_head(place, about.head, labels=about.own_labels, pad_id=pad_id, dtype=stored)
    if about.weights and (found := weights_digest(loaded.model, about.new)) != about.weights:
        raise ModelError(
            "this adapter was trained on another base model",
            where=str(directory / BASE),
            value=f"weights {found[:12]} in {place}",
            expected=f"weights {about.weights[:12]}",
            hint="give back the base that it was trained on, or train it again on this one",
        )
    if about.quantization is not None:
        quantise(loaded.model, about.quantization)
        loaded.model.to(dtype)
    return loaded.model
