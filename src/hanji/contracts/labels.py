"""What rows are labelled with: classes by name, several of them at once, or a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from hanji.contracts.errors import DataError

LabelKind = Literal["classes", "several", "number"]

PROBLEM_TYPES: Final[Mapping[LabelKind, str]] = {
    "classes": "single_label_classification",
    "several": "multi_label_classification",
    "number": "regression",
}
"""As transformers' configs call them."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a task.

    Attributes:
        kind: one class of several, any number of them, or a number.
        names: of the classes, in the order of the model's outputs; empty for numbers.
        counts: training rows of each class, where they were counted.
    """

    kind: LabelKind
    names: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def outputs(self) -> int:
        """How many numbers a model gives for a document."""
        return 1 if self.kind == "number" else len(self.names)

    @classmethod
    def from_statistics(cls, found: Mapping[str, Any]) -> Labels:
        """From what `prepare` counted: `kind`, and `counts` by name."""
        counts = dict(found.get("counts") or {})
        return cls(found["kind"], tuple(counts), counts)

    @classmethod
    def of_config(cls, config: Any) -> Labels | None:
        """Those that a classifier's config names; None where it has none of its own."""
        kinds = {problem: kind for kind, problem in PROBLEM_TYPES.items()}
        kind = kinds.get(getattr(config, "problem_type", None) or "")
        if kind is None:
            return None
        names = () if kind == "number" else tuple(config.id2label[i] for i in range(config.num_labels))
        return cls(kind, names)

    def config_fields(self) -> dict[str, Any]:
        """Fields of a transformers config that name them."""
        names = self.names or ("score",)
        return {
            "problem_type": PROBLEM_TYPES[self.kind],
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: index for index, name in enumerate(names)},
        }

    def targets(self, label: str | list[str] | float, where: str | None = None) -> list[float]:
        """The label as numbers: the class's index; 1 for each class that holds; the number itself.

        Raises:
            DataError: a label of another kind, or a class that is not among the names.
        """
        if self.kind == "number":
            if not isinstance(label, int | float):
                raise DataError("a number is wanted as the label", where=where, value=label)
            return [float(label)]
        given = label if isinstance(label, list) else [label]
        if self.kind == "classes" and len(given) != 1:
            raise DataError("one class is wanted as the label", where=where, value=label)
        for name in given:
            if name not in self.names:
                raise DataError(
                    "a label that the model does not know",
                    where=where,
                    value=name,
                    expected=", ".join(self.names),
                    hint="train with data that has every label, or rename it with `label_names`",
                )
        if self.kind == "classes":
            return [float(self.names.index(str(given[0])))]
        return [float(name in given) for name in self.names]
