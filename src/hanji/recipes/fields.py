"""What every part of a recipe's schema is built from: strict models, names, references, shorthands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from hanji.methods import METHODS
from hanji.objectives import OBJECTIVES
from hanji.recipes.support import (
    check_method,
    check_objective,
    check_options,
    method_schema,
    objective_schema,
)

Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.\-]{0,63}$")]
"""A recipe's or a stage's name: letters of any script, digits, `_`, `-`, `.`; never a path."""

Reference = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
"""A stage of the recipe, an artifact (`recipe/stage`), a path, or a hub id."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """A part of a recipe: unknown keys are refused, values cannot change after they are checked."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
        defer_build=True,  # one verb needs one stage's
    )

    @model_validator(mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, data: Any) -> Any:
        """YAML's true must not pass for 1."""
        for name, value in data.items() if isinstance(data, dict) else ():
            if (
                isinstance(value, bool)
                and name in cls.model_fields
                and cls.model_fields[name].annotation is not bool
            ):
                raise ValueError(f"{name} is no switch: {str(value).lower()} means nothing there")
        return data


def as_list(value: Any) -> Any:
    """`a` for `[a]`: one item may stand without its list."""
    return [value] if isinstance(value, str | dict | BaseModel) else value


SourceFormat = Literal[
    "auto",
    "text",
    "markdown",
    "json",
    "jsonl",
    "csv",
    "tsv",
    "parquet",
    "arrow",
    "dataset",
    "hub",
    "python-docs",
    "python-questions",
]

RowFormat = Literal[
    "auto",
    "text",
    "messages",
    "sharegpt",
    "alpaca",
    "prompt-completion",
    "question-answer",
    "classification",
    "pair-classification",
    "preference",
    "alpaca-preference",
    "chat-preference",
]


class Source(Strict):
    """Where rows come from."""

    path: Reference
    """File, directory, glob, address that fsspec opens, hub id (`owner/name`), `python-docs` (the docstrings
    of the installed Python), or `python-questions` (chats about them)."""
    weight: Positive = 1.0
    """How often each training row is used: 2 is twice, 0.5 a fixed half of them."""
    format: SourceFormat = "auto"
    """How to read it; `auto` goes by each file's ending."""
    rows: RowFormat = "auto"
    """What the records are: plain text, or one of the usual forms of chats, labelled texts and preferences;
    `auto` goes by their fields. `text` takes only the text of records that have a label too."""
    name: str | None = None
    """Name in the statistics; by default the path's last part."""
    columns: dict[str, str] = {}
    """Our field to their column, as `{question: ask, answer: reply}` or `{text: review, label: stars}`."""
    text_column: str | None = None
    """The column that holds plain text, where the rows are text."""
    documents: Literal["auto", "file", "passage", "paragraph", "line"] = "auto"
    """What one row of a text file is; `passage` gathers paragraphs to about 4,000 characters. `auto`:
    Markdown and short files are one row, longer ones are cut into passages."""
    header: tuple[str, ...] | None = None
    """The names of the columns of CSV and TSV files whose first line is a row already."""
    encoding: str = "utf-8"
    """Of text files."""
    labels: Literal["auto", "classes", "several", "number"] = "auto"
    """What the labels of classification rows are: one class, any number of classes, or a number. `auto` goes
    by all labels of the stage: lists are several classes, a fraction anywhere or a column called `score`
    makes them numbers, everything else is the name of a class."""
    label_names: dict[str, str] = {}
    """New names for classes, as `{"0": negative, "1": positive}`."""
    label: str | int | float | None = None
    """The label of every row, for a source that has no column of labels."""
    split: str | None = None
    """The split of a hub data set or a saved one."""
    subset: str | None = None
    """The configuration of a hub data set."""
    max_characters: Count | None = None
    """Read no further than this; by default all."""


class Mix(Strict):
    """One part of a mixture of data."""

    data: Reference
    """A `prepare` stage, an artifact, a prepared directory, or a source that is prepared on the way."""
    weight: Positive | None = None
    """Share of the training tokens; by default in proportion to size. Give all the weights or none."""


class _WithOptions(Strict):
    model_config = ConfigDict(extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        """What it is made with, beside its name."""
        return dict(self.model_extra or {})


class MethodSettings(_WithOptions):
    """Which parameters learn, and the method's own options beside its name."""

    name: Annotated[str, AfterValidator(check_method), WithJsonSchema(method_schema())] = "full"
    """The method's name."""

    @model_validator(mode="after")
    def _options_that_it_has(self) -> MethodSettings:
        check_options(METHODS, self.name, self.options)
        return self


class Trial(MethodSettings):
    """One of the ways that are compared: a method, its own options, and its learning rate."""

    learning_rate: Positive | None = None
    """Highest learning rate of this way; by default `train.learning_rate` times the method's factor."""


class ObjectiveSettings(_WithOptions):
    """What is minimised, and the objective's own options beside its name."""

    name: Annotated[str, AfterValidator(check_objective), WithJsonSchema(objective_schema())]
    """The objective's name."""

    @model_validator(mode="after")
    def _options_that_it_has(self) -> ObjectiveSettings:
        check_options(OBJECTIVES, self.name, self.options)
        return self


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _trials(value: Any) -> Any:
    items = as_list(value)
    return [_named(item) for item in items] if isinstance(items, list) else items


def _mixture(value: Any) -> Any:
    items = as_list(value)
    return (
        [{"data": item} if isinstance(item, str) else item for item in items]
        if isinstance(items, list)
        else items
    )


def _sources(value: Any) -> Any:
    items = as_list(value)
    return (
        [{"path": item} if isinstance(item, str) else item for item in items]
        if isinstance(items, list)
        else items
    )


Method = Annotated[MethodSettings, BeforeValidator(_named, json_schema_input_type=str | MethodSettings)]
"""How the parameters learn: a name, or a mapping of a name and its options."""

Objective = Annotated[
    ObjectiveSettings, BeforeValidator(_named, json_schema_input_type=str | ObjectiveSettings)
]
"""What is minimised: a name, or a mapping of a name and its options."""

Trials = Annotated[
    tuple[Trial, ...],
    Field(min_length=1),
    BeforeValidator(_trials, json_schema_input_type=str | Trial | list[str | Trial]),
]
"""Ways to adapt a model: names of methods, or mappings as `Trial`."""

Mixture = Annotated[
    tuple[Mix, ...],
    Field(min_length=1),
    BeforeValidator(_mixture, json_schema_input_type=str | Mix | list[str | Mix]),
]
Sources = Annotated[
    tuple[Source, ...],
    Field(min_length=1),
    BeforeValidator(_sources, json_schema_input_type=str | Source | list[str | Source]),
]
References = Annotated[
    tuple[Reference, ...],
    Field(min_length=1),
    BeforeValidator(as_list, json_schema_input_type=str | list[str]),
]
