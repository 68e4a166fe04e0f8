"""What every part of a recipe's schema is built from: strict models, names, references, shorthands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
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
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
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
]


class Source(Strict):
    """Where rows come from."""

    path: Reference
    """File, directory, glob, address that fsspec opens, hub id (`owner/name`), or `python-docs`."""
    weight: Positive = 1.0
    """Share of this source's rows against the other sources' (see the stage's data report)."""
    format: SourceFormat = "auto"
    """How to read it; `auto` goes by the file's name and first bytes."""
    name: str | None = None
    """Name in the statistics; by default the path's last part."""
    columns: dict[str, str] = {}
    """Our field to their column, as `{question: ask, answer: reply}`."""
    text_column: str | None = None
    """The column that holds plain text, where the rows are text."""


class Mix(Strict):
    """One part of a mixture of data."""

    data: Reference
    """A `prepare` stage, an artifact, a prepared directory, or a source that is prepared on the way."""
    weight: Positive | None = None
    """Share of the training tokens; by default in proportion to size. Give all the weights or none."""


class FullMethod(Strict):
    """Every parameter learns."""

    name: Literal["full"] = "full"
    """The method's name."""


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


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


Method = Annotated[FullMethod, BeforeValidator(_named, json_schema_input_type=str | FullMethod)]
"""How the parameters learn: a name, or a mapping of a name and its options."""

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
