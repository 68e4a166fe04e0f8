"""The one schema of recipes: YAML, command line and Python all pass through it.

Nothing here imports torch. Every field's docstring becomes its help on the command line, its line in the
reference and its description in the editors' JSON schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from hanji.methods import METHODS
from hanji.recipes.fields import (
    Count,
    Method,
    MethodSettings,
    Mixture,
    Name,
    Objective,
    ObjectiveSettings,
    Reference,
    References,
    Share,
    SourceFormat,
    Sources,
    Strict,
    Trial,
    Trials,
    as_list,
)
from hanji.recipes.support import AGAINST_REFERENCE, NOT_EVERYWHERE, check_from_nothing, check_score
from hanji.recipes.train import FinetuneSettings, PretrainSettings

Product = Literal["data", "tokenizer", "model", "report"]
RESERVED = ("name", "seed", "device", "stages")
"""Keys of the recipe itself: no stage may be called so, lest an override be ambiguous."""


class _Stage(Strict):
    makes: ClassVar[Product]
    """What the stage's artifact is to later stages."""
    wants: ClassVar[Mapping[str, tuple[Product, ...]]] = {}
    """The fields that name other stages, and what those must make."""

    def references(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Every place in the stage that names something, as ("data", 0), and the name."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        for field in self.wants:
            value = getattr(self, field)
            if isinstance(value, str):
                found.append(((field,), value))
            elif isinstance(value, tuple):
                items = [item if isinstance(item, str) else item.data for item in value]
                found.extend(((field, index), item) for index, item in enumerate(items))
        return found


class Clean(Strict):
    """How the text of each row is cleaned."""

    unicode: Literal["nfc", "nfkc", "none"] = "nfc"
    """Unicode normalisation."""
    control_characters: Literal["remove", "keep"] = "remove"
    """Invisible control characters other than tab and newline."""
    whitespace: Literal["keep", "collapse"] = "keep"
    """`collapse` runs of blanks into one, and more than two newlines into two."""


class Split(Strict):
    """Which share of the rows is held out; a row's place depends on its content alone."""

    validation: Share = 0.02
    """Share of rows to evaluate on while training."""
    test: Share = 0.0
    """Share of rows that no training stage ever looks at."""

    @model_validator(mode="after")
    def _something_left(self) -> Split:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave no rows to train on")
        return self


class PrepareStage(_Stage):
    """Reads sources, cleans, removes copies and splits them: prepared data."""

    makes: ClassVar[Product] = "data"

    kind: Literal["prepare"] = "prepare"
    """What the stage does."""
    source: Sources
    """Where the rows come from: a path, hub id or `python-docs`, or a list of such or of mappings."""
    format: SourceFormat = "auto"
    """How to read the sources that do not say it themselves."""
    clean: Clean = Clean()
    """How the text of each row is cleaned."""
    deduplicate: Literal["none", "exact"] = "exact"
    """Which copies of a row are dropped: `exact` compares the cleaned content."""
    decontaminate: bool = False
    """Drop held-out rows that are near-copies of training rows, so that the validation loss is honest."""
    split: Split = Split()
    """Which share of the rows is held out."""
    on_error: Literal["stop", "skip"] = "stop"
    """A malformed row: `stop` with its file, line and field, or `skip` it into skipped.jsonl."""
    limit: Count | None = None
    """Read at most this many rows of each source."""


class TokenizerStage(_Stage):
    """Trains a tokenizer on prepared data, or takes an existing one."""

    makes: ClassVar[Product] = "tokenizer"
    wants: ClassVar[Mapping[str, tuple[Product, ...]]] = {"data": ("data",), "source": ("tokenizer", "model")}

    kind: Literal["tokenizer"] = "tokenizer"
    """What the stage does."""
    data: Reference | None = None
    """Prepared data to train on; with `source`, only the report of fertility reads it."""
    source: Reference | None = None
    """An existing tokenizer instead: a stage, a directory, a hub id, or a `.gguf` file."""
    algorithm: Literal["bpe", "wordpiece", "unigram"] = "bpe"
    """`bpe` works on bytes and gives back any text exactly; `wordpiece` is BERT's, `unigram` T5's."""
    vocab_size: int = Field(default=32_000, ge=16)
    """Tokens in the vocabulary, special ones included."""
    pattern: Literal["llama3", "qwen2"] = "llama3"
    """How `bpe` cuts text into words first: a regular expression that other runtimes know by that name."""
    special_tokens: tuple[str, ...] = ()
    """Further special tokens, beside those of documents and chats."""
    min_frequency: Count = 2
    """A pair seen fewer times than this is never merged."""

    @model_validator(mode="after")
    def _trained_or_taken(self) -> TokenizerStage:
        if self.source is None and self.data is None:
            raise ValueError("wants `data` to train on, or `source` to take an existing tokenizer")
        training = {"algorithm", "vocab_size", "pattern", "special_tokens", "min_frequency"}
        if self.source is not None and (idle := sorted(training & self.model_fields_set)):
            raise ValueError(f"takes an existing tokenizer, so that {', '.join(idle)} can have no effect")
        if "pattern" in self.model_fields_set and self.algorithm != "bpe":
            raise ValueError(f"pattern belongs to algorithm bpe, not {self.algorithm}")
        return self


class _TrainingStage(_Stage):
    @model_validator(mode="after")
    def _all_weights_or_none(self) -> _TrainingStage:
        given = {mix.weight is not None for mix in self.data}  # type: ignore[attr-defined]
        if len(given) > 1:
            raise ValueError("data: give a weight to every part of the mixture, or to none")
        return self


class PretrainStage(_TrainingStage):
    """Trains a blank model on text."""

    makes: ClassVar[Product] = "model"
    wants: ClassVar[Mapping[str, tuple[Product, ...]]] = {
        "tokenizer": ("tokenizer", "model"),
        "data": ("data",),
    }

    kind: Literal["pretrain"] = "pretrain"
    """What the stage does."""
    model: str | dict[str, Any] = "llama-nano"
    """A preset (see `hanji models`), the path of a config.json, or a transformers config as a mapping."""
    config: dict[str, Any] = Field(default={})
    """Changes to that config, as `{num_hidden_layers: 8}`."""
    tokenizer: Reference
    """A `tokenizer` stage, a directory, a hub id, or a `.gguf` file."""
    data: Mixture
    """Prepared data: a name, or a list of `{data, weight}`."""
    objective: Objective = ObjectiveSettings(name="clm")
    """What is minimised: `clm`, each token predicted from those before it; `mlm`, hidden tokens from both
    sides; `mlm+nsp` and `mlm+sop`, how two texts stand to each other besides; `classify`, labels alone. A
    name, or a mapping of the name and its options."""
    train: PretrainSettings
    """How long, how fast, in which portions."""

    @model_validator(mode="after")
    def _learns_from_nothing(self) -> PretrainStage:
        check_from_nothing(self.objective.name)
        return self


class FinetuneStage(_TrainingStage):
    """Trains a trained model further: on chats, labels, preferences, or on more text."""

    makes: ClassVar[Product] = "model"
    wants: ClassVar[Mapping[str, tuple[Product, ...]]] = {
        "model": ("model",),
        "data": ("data",),
        "tokenizer": ("tokenizer", "model"),
    }

    kind: Literal["finetune"] = "finetune"
    """What the stage does."""
    model: Reference
    """A stage that makes a model, a directory, a hub id, or a `.gguf` file."""
    data: Mixture
    """Prepared data: a name, or a list of `{data, weight}`."""
    objective: Objective = ObjectiveSettings(name="sft")
    """What is minimised: `sft` learns the assistant's words in chats, `classify` the labels of texts,
    `reward` and `dpo` which of two answers people chose; `clm`, `mlm`, `mlm+nsp`, `mlm+sop` continue on plain
    text. A name, or a mapping of the name and its options."""
    method: Method = MethodSettings()
    """Which parameters learn: `full`, `freeze`, `adapter`, `prompt`, `lora`, or `qlora` on a base in 4 bits;
    a name, or a mapping of the name and its options."""
    merge: bool = False
    """Put what was learned into the model's own weights, and save a whole model; of `lora` and `qlora`."""
    tokenizer: Reference | None = None
    """Another tokenizer than the model's own."""
    train: FinetuneSettings = FinetuneSettings(epochs=3)
    """How long, how fast, in which portions."""

    @model_validator(mode="after")
    def _can_be_merged(self) -> FinetuneStage:
        if self.merge and not METHODS.load(self.method.name).merges:
            raise ValueError(f"merge: {self.method.name} leaves nothing that could be merged; lora does")
        return self


class EvaluateStage(_Stage):
    """Compares models on held-out data and prompts, and writes the report."""

    makes: ClassVar[Product] = "report"
    wants: ClassVar[Mapping[str, tuple[Product, ...]]] = {"models": ("model",), "data": ("data",)}

    kind: Literal["evaluate"] = "evaluate"
    """What the stage does."""
    models: References
    """The models to compare, in this order: stages, directories, hub ids."""
    data: Reference | None = None
    """Prepared data whose held-out rows are scored; by default each model's own."""
    prompts: Annotated[tuple[str, ...], BeforeValidator(as_list, json_schema_input_type=str | list[str])] = ()
    """What every model is asked; questions for chat models, beginnings for the others."""
    max_new_tokens: Count = 64
    """Longest answer, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """Randomness of the answers; 0 takes the most probable token."""


class CompareStage(_TrainingStage):
    """Adapts one model in several ways, on the same task and budget, and tells which is worth its price."""

    makes: ClassVar[Product] = "report"
    wants: ClassVar[Mapping[str, tuple[Product, ...]]] = {
        "model": ("model",),
        "data": ("data",),
        "tokenizer": ("tokenizer", "model"),
        "baselines": ("model",),
    }

    kind: Literal["compare"] = "compare"
    """What the stage does."""
    model: Reference
    """The model to adapt: a stage that makes one, a directory, a hub id, or a `.gguf` file."""
    data: Mixture
    """Prepared data: a name, or a list of `{data, weight}`. Its `test` rows tell the quality, or where there
    are none its `validation` rows. Of a source that is prepared on the way a fifth becomes `test`."""
    objective: Objective = ObjectiveSettings(name="sft")
    """What is minimised, as in `finetune`."""
    methods: Trials | None = None
    """The ways to compare: names of methods, or mappings of a name, `learning_rate` and the method's own
    options; by default every method there is but `qlora`, which is for models that fit in no other way. Each
    becomes a `finetune` stage `<this stage>-<method>`. Without a rate of their own, `full` and `freeze` learn
    at `train.learning_rate`; what is added to a model is small and wants more: `adapter`, `lora` and `qlora`
    learn at 10 times that rate (5e-3 at most), `prompt` at 100 times (5e-2 at most)."""
    baselines: References | None = None
    """Further models that are scored on the same rows, to be beaten: the model as it was, a blank one trained
    on the labels alone."""
    score: str | None = None
    """Which score of the held-out rows is the quality: by default `accuracy` of labels and pairs, `pearson`
    of numbers, `loss` of everything else (lower is better)."""
    tokenizer: Reference | None = None
    """Another tokenizer than the model's own."""
    train: FinetuneSettings = FinetuneSettings(epochs=3)
    """How long, how fast, in which portions: the same for every way, but for the learning rate."""

    @model_validator(mode="after")
    def _score_that_there_is(self) -> CompareStage:
        if self.score is not None:
            check_score(self.objective.name, self.score)
        if self.baselines and self.objective.name in AGAINST_REFERENCE:
            raise ValueError(
                f"{self.objective.name} scores a model against the one before its training: there can be no"
                " baselines"
            )
        return self

    @property
    def ways(self) -> tuple[Trial, ...]:
        """The ways to compare."""
        return self.methods or tuple(Trial(name=name) for name in METHODS if name not in NOT_EVERYWHERE)


class ComparedStage(CompareStage):
    """What a comparison is once its ways are stages of their own; never written by hand (see `trials`)."""

    wants: ClassVar[Mapping[str, tuple[Product, ...]]] = {"trials": ("model",), "baselines": ("model",)}

    trials: tuple[str, ...]
    """The stages of the ways, in their order."""


Stage = Annotated[
    PrepareStage | TokenizerStage | PretrainStage | FinetuneStage | EvaluateStage | CompareStage,
    Field(discriminator="kind"),
]


STAGES: Mapping[str, type[_Stage]] = {
    "prepare": PrepareStage,
    "tokenizer": TokenizerStage,
    "pretrain": PretrainStage,
    "finetune": FinetuneStage,
    "evaluate": EvaluateStage,
    "compare": CompareStage,
}
"""Kind → settings, in the order of the lifecycle."""


class Recipe(Strict):
    """Named stages, and what they share."""

    name: Name
    """The recipe's name: its artifacts lie in `runs/<name>/`."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Where all randomness comes from."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where tensors live; `auto` takes CUDA, then MPS, then the CPU."""
    stages: dict[Name, Stage] = Field(min_length=1)
    """The stages by name; a stage refers to another by its name."""
