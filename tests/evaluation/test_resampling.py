"""One score with its interval: against the bootstrap by hand, and against scores of whole batches."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from hanji.contracts.batch import IGNORED
from hanji.contracts.labels import Labels
from hanji.contracts.protocols import Task
from hanji.contracts.rows import TokenRows
from hanji.evaluation.held_out import held_out_scores
from hanji.evaluation.resampling import scored_rows
from hanji.evaluation.row_scores import RESAMPLES, matthews, row_scores
from hanji.objectives.classify import Classification
from hanji.objectives.likelihood import Likelihood


class Causal(Likelihood):
    name, rows = "causal", "text"


class Table(nn.Module):
    """The next token from the last one by a table; a document's scores from its first token by another."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.logits = nn.Parameter(torch.randn(9, 9, generator=generator))
        self.classes = nn.Parameter(torch.randn(9, 2, generator=generator))

    def negative_log_likelihood(self, batch):
        at = batch.labels != IGNORED
        logits = self.logits[batch.input_ids[at]]
        nll = nn.functional.cross_entropy(logits, batch.labels[at], reduction="sum")
        return {"nll": nll, "correct": (logits.argmax(-1) == batch.labels[at]).sum()}

    def document_scores(self, batch):
        starts = np.cumsum([0, *batch.lengths])[:-1]
        return self.classes[batch.input_ids[starts]]


@pytest.fixture
def rows():
    random = np.random.default_rng(1)
    lengths = random.integers(2, 9, size=30)
    ids = random.integers(0, 9, size=lengths.sum()).astype(np.int32)
    targets = random.integers(0, 2, size=(30, 1)).astype(np.float64)
    return TokenRows(ids, lengths, np.ones(len(ids), bool), lengths * 3, targets=targets)


def batches(rows):
    """In two batches."""
    return lambda: iter([rows.take(np.arange(0, 17)), rows.take(np.arange(17, 30))])


def drawn_by_hand(values, rows):
    """The statistic of rows drawn again, by a loop of its own."""
    random = np.random.default_rng(0)
    return np.array([values(random.integers(rows, size=rows)) for _ in range(RESAMPLES)])


@pytest.mark.parametrize("score", ["loss", "perplexity", "bits_per_byte", "accuracy"])
def test_a_row_is_drawn_with_all_of_its_tokens(rows, score):
    policy = Table()
    scores, quality = scored_rows(policy, Causal(), batches(rows), "cpu", score)
    log_probabilities = policy.logits.detach().double().log_softmax(-1)
    nats, right = np.zeros(30), np.zeros(30)
    for row, (start, end) in enumerate(zip(rows.offsets[:-1], rows.offsets[1:], strict=True)):
        for before, after in zip(rows.ids[start : end - 1], rows.ids[start + 1 : end], strict=True):
            nats[row] -= float(log_probabilities[before, after])
            right[row] += int(log_probabilities[before].argmax()) == after
    tokens, size = rows.lengths - 1, rows.text_bytes
    by_hand = {
        "loss": lambda at: nats[at].sum() / tokens[at].sum(),
        "perplexity": lambda at: math.exp(nats[at].sum() / tokens[at].sum()),
        "bits_per_byte": lambda at: nats[at].sum() / math.log(2) / size[at].sum(),
        "accuracy": lambda at: right[at].sum() / tokens[at].sum(),
    }[score]
    assert quality.value == scores[score] == pytest.approx(by_hand(np.arange(30)), rel=1e-6)
    expected = drawn_by_hand(by_hand, 30)
    np.testing.assert_allclose(quality.draws, expected, rtol=1e-5)
    assert [quality.low, quality.high] == pytest.approx(np.quantile(expected, [0.025, 0.975]), rel=1e-5)
    assert quality.rows == 30
    assert scores == held_out_scores(policy, Causal(), batches(rows)(), "cpu")


@pytest.mark.parametrize("score", ["accuracy", "macro_f1", "matthews", "loss"])
def test_labels_have_an_interval_for_every_score(rows, score):
    policy, objective = Table(), Classification()
    encoder = SimpleNamespace(frame=SimpleNamespace(has_segments=False))
    objective.bind(Task(encoder, 16, Labels("classes", ("a", "b"), {"a": 1, "b": 1})))
    scores, quality = scored_rows(policy, objective, batches(rows), "cpu", score)
    said = policy.classes.detach()[rows.ids[rows.offsets[:-1]]]
    right = rows.targets[:, 0].astype(int)
    each = nn.functional.cross_entropy(said, torch.tensor(right), reduction="none").numpy()
    choices = said.argmax(1).numpy()
    by_hand = {
        "accuracy": lambda at: (choices[at] == right[at]).mean(),
        "macro_f1": lambda at: row_scores("classes", said.numpy()[at], rows.targets[at])["macro_f1"],
        "matthews": lambda at: matthews(right[at], choices[at], 2),
        "loss": lambda at: each[at].mean(),
    }[score]
    if score == "macro_f1":  # with its own interval, which must be the same
        assert (quality.low, quality.high) == (scores["macro_f1_low"], scores["macro_f1_high"])
        return
    np.testing.assert_allclose(quality.draws, drawn_by_hand(by_hand, 30), rtol=1e-5, atol=1e-12)
    assert quality.value == pytest.approx(by_hand(np.arange(30)), rel=1e-6)


def test_a_score_that_there_is_not(rows):
    scores, quality = scored_rows(Table(), Causal(), batches(rows), "cpu", "pearson")
    assert quality is None
    assert "loss" in scores
