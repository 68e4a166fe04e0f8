"""Classification: the tokenizer's own ids and types, and losses against float64 by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hanji.contracts.batch import IGNORED, Batch
from hanji.contracts.errors import ConfigError, DataError
from hanji.contracts.labels import Labels
from hanji.contracts.protocols import Task
from hanji.models.policies import policy_for
from hanji.objectives.classify import Classification
from hanji.tokenizers.tokenizer import Tokenizer
from objectives.encoders import ENGLISH, KOREAN, Numbers, trained
from tiny_models import tiny

CLASSES = Labels("classes", ("bad", "fair", "good"), {"bad": 6, "fair": 3, "good": 1})
SEVERAL = Labels("several", ("dry", "thin", "white"))
NUMBER = Labels("number")


def bound(labels: Labels | None, encoder: Any = None, **options: Any) -> Classification:
    objective = Classification(**options)
    objective.bind(Task(encoder or Numbers(200), 64, labels))
    return objective


class Said(nn.Module):
    """A policy with one score of its own for each row."""

    def __init__(self, rows: int, outputs: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(rows)
        self.scores = nn.Parameter(2 * torch.randn(rows, outputs, generator=generator))

    def document_scores(self, batch: Batch) -> Tensor:
        return self.scores[batch.input_ids[batch.firsts()]]


def batch_of(targets: list[list[float]]) -> Batch:
    """A batch of rows of uneven length, each of which begins with its own number."""
    ids = [[row, *[7] * (row % 3)] for row in range(len(targets))]
    flat = torch.tensor([index for row in ids for index in row])
    return Batch(flat, torch.full_like(flat, IGNORED), tuple(map(len, ids)), targets=torch.tensor(targets))


PICKED = [[0.0], [2.0], [1.0], [0.0], [0.0], [1.0], [2.0], [0.0]]
HELD = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]
NUMBERS = [[0.5], [-3.25], [2.0], [4.75], [0.0]]


def mean_loss(objective: Classification, policy: Any, batch: Batch) -> Tensor:
    return objective.loss(policy, batch).normalised(objective.counts(batch))


def against(objective: Classification, targets: list[list[float]], outputs: int, expected: Any) -> None:
    """The mean loss and its gradient against what `expected` makes of scores and targets in float64."""
    policy, batch = Said(len(targets), outputs), batch_of(targets)
    mean_loss(objective, policy, batch).backward()
    exact = policy.scores.detach().double().requires_grad_()
    wanted = expected(exact, torch.tensor(targets).double())
    wanted.backward()
    assert mean_loss(objective, policy, batch).item() == pytest.approx(wanted.item(), rel=1e-6)
    torch.testing.assert_close(policy.scores.grad, exact.grad.float(), rtol=1e-5, atol=1e-7)


def test_one_class_is_cross_entropy() -> None:
    def expected(scores: Tensor, targets: Tensor) -> Tensor:
        at = targets[:, 0].long()
        return (scores.exp().sum(1).log() - scores[torch.arange(len(at)), at]).mean()

    against(bound(CLASSES), PICKED, 3, expected)


def test_several_classes_are_binary_cross_entropies() -> None:
    def expected(scores: Tensor, targets: Tensor) -> Tensor:
        held = 1 / (1 + (-scores).exp())
        return -(targets * held.log() + (1 - targets) * (1 - held).log()).mean()

    against(bound(SEVERAL), HELD, 3, expected)


def test_a_number_is_squared_error() -> None:
    against(bound(NUMBER), NUMBERS, 1, lambda scores, targets: ((scores - targets) ** 2).mean())


@pytest.mark.parametrize(
    ("said", "weights"),
    [
        ("balanced", [10 / (3 * 6), 10 / (3 * 3), 10 / (3 * 1)]),
        ({"bad": 0.5, "good": 4.0}, [0.5, 1.0, 4.0]),
    ],
)
def test_class_weights_are_those_of_torch(said: Any, weights: list[float]) -> None:
    def expected(scores: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(scores, targets[:, 0].long(), torch.tensor(weights).double(), reduction="mean")

    objective = bound(CLASSES, class_weights=said)
    assert objective.weights.tolist() == pytest.approx(weights)
    against(objective, PICKED, 3, expected)
    counts = objective.counts(batch_of(PICKED))
    assert counts["rows"] == 8 and counts["weight"] == pytest.approx(sum(weights[int(t)] for (t,) in PICKED))


def test_weights_that_fit_no_class_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean good"):
        bound(CLASSES, class_weights={"goood": 1.0})
    with pytest.raises(ConfigError, match="one class each"):
        bound(SEVERAL, class_weights="balanced")
    with pytest.raises(ConfigError, match="balanced"):
        Classification(class_weights="even")
    with pytest.raises(DataError, match="labelled rows"):
        bound(None)


@pytest.mark.parametrize(
    ("labels", "targets", "outputs", "right"),
    [
        (CLASSES, PICKED, 3, lambda scores, targets: scores.argmax(1) == targets[:, 0]),
        (SEVERAL, HELD, 3, lambda scores, targets: ((scores > 0) == (targets > 0)).all(1)),
    ],
)
def test_accuracy_and_what_is_observed(labels: Labels, targets: Any, outputs: int, right: Any) -> None:
    policy, batch = Said(len(targets), outputs), batch_of(targets)
    loss = bound(labels).loss(policy, batch)
    assert loss.metrics["accuracy"] == (float(right(policy.scores, torch.tensor(targets)).sum()), "rows")
    assert torch.equal(loss.observed["scores"], policy.scores)
    assert loss.observed["targets"].tolist() == targets
    assert not loss.observed["scores"].requires_grad


def test_numbers_have_no_accuracy() -> None:
    assert bound(NUMBER).loss(Said(5, 1), batch_of(NUMBERS)).metrics == {}


def test_an_unknown_label_is_named() -> None:
    objective, encoder = bound(CLASSES), Numbers(200)
    with pytest.raises(DataError) as caught:
        objective.encode(
            [{"text": "5 6", "label": "good", "id": "1"}, {"text": "7", "label": "grand", "id": "row 17"}],
            encoder,
        )
    assert "grand" in str(caught.value) and caught.value.where == "row 17"
    assert caught.value.expected == "bad, fair, good"


@pytest.mark.parametrize(
    ("labels", "given", "targets"),
    [
        (CLASSES, ["good", "bad"], [[2.0], [0.0]]),
        (SEVERAL, [["white", "dry"], []], [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        (NUMBER, [4, -0.5], [[4.0], [-0.5]]),
    ],
)
def test_labels_become_targets(labels: Labels, given: list[Any], targets: list[list[float]]) -> None:
    rows = [{"text": "5 6 7", "text_pair": None, "label": label} for label in given]
    objective = bound(labels)
    encoded = objective.encode(rows, Numbers(200))
    assert encoded.targets is not None and encoded.targets.tolist() == targets
    assert not encoded.trained.any()
    batch = objective.collate(encoded)
    assert batch.targets is not None and batch.targets.tolist() == targets
    assert batch.trained_tokens == 0 and batch.segments is None


TEXTS = [
    (ENGLISH, None),
    (KOREAN, ENGLISH),
    ("", "only the second"),
    ("a sheet", ""),
    ("In 1443\n", "  12: 📄"),
]


def tokenizers(minilm: Path) -> list[Tokenizer]:
    return [Tokenizer.load(minilm), trained("wordpiece"), trained("bpe", "[MASK]")]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["minilm", "wordpiece", "bpe"])
def test_ids_and_types_are_the_tokenizers_own(which: int, minilm_directory: Path) -> None:
    tokenizer = tokenizers(minilm_directory)[which]
    objective = bound(CLASSES, tokenizer)
    rows = objective.encode(
        [{"text": text, "text_pair": second, "label": "good"} for text, second in TEXTS], tokenizer
    )
    batch = objective.collate(rows)
    types = batch.segments if batch.segments is not None else torch.zeros_like(batch.input_ids)
    parts = zip(batch.input_ids.split(batch.lengths), types.split(batch.lengths), strict=True)
    for (text, second), (ids, kinds) in zip(TEXTS, parts, strict=True):
        # as a list of one: transformers takes an empty second text for none where it stands alone
        theirs = tokenizer.hf([text], [second]) if second is not None else tokenizer.hf([text])
        assert [ids.tolist()] == theirs["input_ids"]
        assert [kinds.tolist()] == theirs.get("token_type_ids", [[0] * len(ids)])


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("said", [None, {"bad": 0.5, "good": 4.0}])
def test_the_loss_does_not_depend_on_micro_batches(family: str, said: Any) -> None:
    random = np.random.default_rng(2)
    names = ["bad", "good"]
    rows = [
        {
            "text": " ".join(map(str, random.integers(5, 200, size))),
            "text_pair": " ".join(map(str, random.integers(5, 200, size // 2))) if size % 2 else None,
            "label": names[size % 3 % 2],
        }
        for size in (9, 30, 3, 17, 18, 4, 25)
    ]
    encoder = Numbers(200)
    objective = bound(Labels("classes", ("bad", "good")), encoder, class_weights=said)
    batch = objective.collate(objective.encode(rows, encoder))
    assert batch.segments is not None
    policy = policy_for("classification", tiny(family, "classification"), pad_id=0).eval()
    counts = objective.counts(batch)
    found = []
    for size in (10_000, 60, 1):
        policy.zero_grad()
        parts = list(batch.split(size))
        losses = [objective.loss(policy, part).normalised(counts) for part in parts]
        torch.stack(losses).sum().backward()
        gradients = [p.grad.flatten() for p in policy.parameters() if p.grad is not None]
        found.append((len(parts), sum(map(Tensor.item, losses)), torch.cat(gradients)))
    assert [count for count, *_ in found] == [1, len(list(batch.split(60))), 7]
    for _, loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][1], rel=1e-6)
        assert float((gradient - found[0][2]).norm() / found[0][2].norm()) < 1e-6
