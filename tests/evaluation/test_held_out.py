import math

import numpy as np
import pytest
import torch
from torch import nn

from hanji.contracts.batch import IGNORED
from hanji.contracts.rows import TokenRows
from hanji.evaluation.held_out import held_out_scores
from hanji.objectives.likelihood import Likelihood


class TablePolicy(nn.Module):
    """Predicts the next token from the last one by a table of logits; dropout would disturb it."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.logits = nn.Parameter(torch.randn(5, 5, generator=generator))
        self.dropout = nn.Dropout(0.9)

    def negative_log_likelihood(self, batch):
        assert not torch.is_grad_enabled()
        at = batch.labels != IGNORED
        logits = self.dropout(self.logits[batch.input_ids[at]])
        nll = nn.functional.cross_entropy(logits, batch.labels[at], reduction="sum")
        return {"nll": nll, "correct": (logits.argmax(-1) == batch.labels[at]).sum()}


class Causal(Likelihood):
    name, rows = "causal", "text"


@pytest.fixture
def rows():
    ids = np.array([0, 1, 2, 3, 4, 2, 0], np.int32)
    trained = np.array([True, True, False, True, True, True, True])
    return TokenRows(ids, np.array([4, 3]), trained, np.array([5, 6]))


def test_the_scores_equal_those_computed_by_hand(rows):
    policy = TablePolicy()
    scores = held_out_scores(
        policy, Causal(), iter([rows.take(np.array([0])), rows.take(np.array([1]))]), "cpu"
    )
    log_probabilities = policy.logits.detach().double().log_softmax(-1)
    pairs = [(0, 1), (2, 3), (4, 2), (2, 0)]
    nats = -sum(float(log_probabilities[v, w]) for v, w in pairs)
    right = sum(int(log_probabilities[v].argmax()) == w for v, w in pairs)
    assert scores["tokens"] == 4
    assert scores["loss"] == pytest.approx(nats / 4, rel=1e-6)
    assert scores["perplexity"] == pytest.approx(math.exp(nats / 4), rel=1e-6)
    assert scores["bits_per_byte"] == pytest.approx(nats / math.log(2) / 11, rel=1e-6)
    assert scores["accuracy"] == right / 4


def test_each_module_comes_back_in_its_own_mode(rows):
    policy = TablePolicy().train()
    policy.dropout.eval()
    held_out_scores(policy, Causal(), iter([rows]), "cpu")
    assert policy.training and not policy.dropout.training


def test_an_error_on_the_way_leaves_the_mode_as_it_was(rows):
    policy = TablePolicy().train()
    broken = TokenRows(np.array([0, 9], np.int32), np.array([2]), np.ones(2, bool), np.array([1]))
    with pytest.raises(IndexError):
        held_out_scores(policy, Causal(), iter([rows, broken]), "cpu")
    assert policy.training


def test_without_a_trained_token_there_is_no_score():
    nothing = TokenRows(np.array([0, 1], np.int32), np.array([2]), np.zeros(2, bool), np.array([0]))
    assert held_out_scores(TablePolicy(), Causal(), iter([nothing]), "cpu") == {}
