"""Labels: from names and numbers to targets, and to a model's config and back."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import BertConfig

from hanji.contracts.errors import DataError
from hanji.contracts.labels import Labels

CLASSES = Labels("classes", ("bad", "fair", "good"))
SEVERAL = Labels("several", ("dry", "thin", "white"))
NUMBER = Labels("number")


@pytest.mark.parametrize(
    ("labels", "label", "targets"),
    [
        (CLASSES, "fair", [1.0]),
        (CLASSES, ["good"], [2.0]),
        (SEVERAL, ["white", "dry"], [1.0, 0.0, 1.0]),
        (SEVERAL, "thin", [0.0, 1.0, 0.0]),
        (SEVERAL, [], [0.0, 0.0, 0.0]),
        (NUMBER, 3, [3.0]),
        (NUMBER, -0.25, [-0.25]),
    ],
)
def test_targets(labels: Labels, label: Any, targets: list[float]) -> None:
    assert labels.targets(label) == targets
    assert labels.outputs == (1 if labels.kind == "number" else 3)


@pytest.mark.parametrize(
    ("labels", "label", "problem", "value"),
    [
        (CLASSES, "grand", "does not know", "grand"),
        (CLASSES, ["good", "bad"], "one class is wanted", "['good', 'bad']"),
        (CLASSES, [], "one class is wanted", "[]"),
        (SEVERAL, ["dry", "blue"], "does not know", "blue"),
        (NUMBER, "good", "a number is wanted", "good"),
        (CLASSES, 2.0, "does not know", "2.0"),
    ],
)
def test_what_is_no_label_of_them_is_named(labels: Labels, label: Any, problem: str, value: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        labels.targets(label, "reviews.jsonl: 12")
    assert caught.value.where == "reviews.jsonl: 12"
    assert value in str(caught.value.value)


@pytest.mark.parametrize("labels", [CLASSES, SEVERAL, NUMBER])
def test_a_config_keeps_them(labels: Labels) -> None:
    config = BertConfig(**labels.config_fields())
    assert config.num_labels == labels.outputs
    assert config.problem_type in (
        "single_label_classification", "multi_label_classification", "regression",
    )  # fmt: skip
    again = Labels.of_config(BertConfig.from_dict(config.to_dict()))
    assert again == labels
    assert {index: name for name, index in config.label2id.items()} == config.id2label


def test_a_config_of_others_names_none() -> None:
    assert Labels.of_config(BertConfig()) is None
    assert Labels.of_config(BertConfig(num_labels=3)) is None


def test_what_preparing_counted() -> None:
    found = Labels.from_statistics({"kind": "classes", "counts": {"b": 2, "a": 5}})
    assert (found.kind, found.names, found.counts) == ("classes", ("b", "a"), {"b": 2, "a": 5})
    assert Labels.from_statistics({"kind": "number"}) == NUMBER
