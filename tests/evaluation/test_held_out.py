import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from hanji.contracts.batch import IGNORED
from hanji.contracts.labels import Labels
from hanji.contracts.protocols import Task
from hanji.contracts.rows import TokenRows
from hanji.evaluation.held_out import held_out_scores
from hanji.evaluation.row_scores import row_scores
from hanji.objectives.classify import Classification
from hanji.objectives.likelihood import Likelihood
from hanji.objectives.nsp import MaskedWithNextSentence
from hanji.objectives.relation import UNKNOWN
from hanji.objectives.reward import Reward
from objectives.encoders import UNKNOWN as UNKNOWN_WORD
from objectives.encoders import Numbers


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


class Said(TablePolicy):
    """What is said of a document follows from its first token."""

    def __init__(self, outputs):
        super().__init__()
        self.table = nn.Parameter(torch.randn(50, outputs, generator=torch.Generator().manual_seed(1)))

    def document_scores(self, batch):
        assert not torch.is_grad_enabled()
        return self.dropout(self.table[batch.input_ids[batch.firsts()]])

    def negative_log_likelihood(self, batch):
        at = batch.labels != IGNORED
        nll = self.table[batch.labels[at], 0].square().sum()
        return {"nll": nll, "correct": at.sum() // 2, "relation": self.document_scores(batch)}


def rows_like(first, targets, borders=None):
    """Rows of three tokens, the first of which is given."""
    ids = np.array([[token, 7, 8] for token in first], np.int32).ravel()
    count, whole = len(first), np.array(targets, np.float64)
    borders = None if borders is None else np.array(borders)
    return TokenRows(ids, np.full(count, 3), np.zeros(3 * count, bool), np.zeros(count, int), borders, whole)


def batches_of(rows, *sizes):
    ends = np.cumsum([0, *sizes])
    assert ends[-1] == len(rows)
    return iter([rows.take(np.arange(start, end)) for start, end in pairwise(ends)])


@pytest.mark.parametrize("sizes", [(12,), (1, 5, 6), (1,) * 12])
def test_labels_are_scored_over_all_rows_whatever_the_batches(sizes):
    right = [0, 2, 1, 1, 0, 2, 2, 0, 1, 0, 0, 2]
    objective = Classification({"a": 3.0, "c": 0.5})
    objective.bind(Task(Numbers(50), 8, Labels("classes", ("a", "b", "c"))))
    policy, rows = Said(3).train(), rows_like(range(10, 22), [[label] for label in right])
    found = held_out_scores(policy, objective, batches_of(rows, *sizes), "cpu")
    said = policy.table[10:22].detach().double()
    weights = torch.tensor([3.0, 1.0, 0.5]).double()
    expected = nn.functional.cross_entropy(said, torch.tensor(right), weights)
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-6)
    assert found["rows"] == 12.0
    assert {name: found[name] for name in found if name not in ("loss", "rows")} == row_scores(
        "classes", said.float().numpy(), np.array(right)[:, None]
    )


def test_numbers_are_scored_over_all_rows():
    objective = Classification()
    objective.bind(Task(Numbers(50), 8, Labels("number")))
    right = np.random.default_rng(0).normal(size=(20, 1))
    policy, rows = Said(1), rows_like(range(20), right)
    found = held_out_scores(policy, objective, batches_of(rows, 3, 17), "cpu")
    said = policy.table[:20].detach().double().numpy()
    squared = ((said - right) ** 2).mean()
    assert found["loss"] == pytest.approx(squared, rel=1e-5)
    assert found["mean_squared_error"] == pytest.approx(squared, rel=1e-5)
    assert found["pearson"] == pytest.approx(np.corrcoef(said[:, 0], right[:, 0])[0, 1], rel=1e-5)
    assert found["pearson_low"] < found["pearson"] < found["pearson_high"]
    assert "accuracy" not in found


def test_pairs_are_scored_over_all_pairs():
    objective, policy = Reward(0.1), Said(1)
    documents = rows_like(range(10, 30), np.zeros((20, 1)))
    rows = TokenRows(
        documents.ids, np.full(10, 6), documents.trained, np.zeros(10, int), np.full(10, 3), np.zeros((10, 1))
    )
    found = held_out_scores(policy, objective, batches_of(rows, 1, 2, 7), "cpu")
    rewards = policy.table[10:30, 0].detach().double().view(-1, 2)
    better = rewards[:, 0] - rewards[:, 1]
    expected = -nn.functional.logsigmoid(better).mean() + 0.1 * rewards.sum(1).square().mean()
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert found["accuracy"] == (better > 0).double().mean().item()
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert found["reward_chosen"] == pytest.approx(rewards[:, 0].mean().item(), rel=1e-5)
    assert found["rows"] == 10.0


def masked_pairs(labels):
    """An objective, and rows of two texts with these labels."""
    objective = MaskedWithNextSentence()
    objective.bind(Task(Numbers(50), 8))
    count = len(labels)
    ids = np.array([[2, 10 + row, 3, 20 + row, 3] for row in range(count)], np.int32).ravel()
    trained = np.tile([False, True, False, True, False], count)
    targets = np.array(labels, np.float64)[:, None]
    return objective, TokenRows(
        ids,
        np.full(count, 5),
        trained,
        np.zeros(count, int),
        np.full(count, 3),
        targets,
        np.arange(count).astype(np.uint64),
    )


@pytest.mark.parametrize("sizes", [(6,), (2, 3, 1)])
def test_two_losses_are_means_of_their_own_units(sizes):
    labels = [0, 1, UNKNOWN, 1, UNKNOWN, 0]
    objective, rows = masked_pairs(labels)
    policy = Said(2)
    found = held_out_scores(policy, objective, batches_of(rows, *sizes), "cpu")
    hidden = objective.collate(rows).labels
    hidden = hidden[hidden != IGNORED]
    assert len(hidden) == 6
    tokens = policy.table[hidden, 0].detach().double().square().mean()
    known = [label for label in labels if label != UNKNOWN]
    said = policy.table[2].detach().double().expand(4, 2)
    relation = nn.functional.cross_entropy(said, torch.tensor(known))
    assert found["loss"] == pytest.approx((tokens + relation).item(), rel=1e-5)
    assert found["masked_loss"] == pytest.approx(tokens.item(), rel=1e-5)
    assert found["next_sentence_loss"] == pytest.approx(relation.item(), rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(tokens.item()), rel=1e-5)
    assert found["tokens"] == 6.0 and "bits_per_byte" not in found


def test_where_no_row_has_a_label_the_tokens_are_the_loss():
    objective, rows = masked_pairs([UNKNOWN, UNKNOWN])
    found = held_out_scores(Said(2), objective, batches_of(rows, 1, 1), "cpu")
    assert found["loss"] == found["masked_loss"] and "next_sentence_loss" not in found


def test_where_no_token_can_be_hidden_the_pairs_are_the_loss():
    objective, rows = masked_pairs([0, 1])
    rows.ids[rows.trained], rows.trained[:] = UNKNOWN_WORD, False
    found = held_out_scores(Said(2), objective, batches_of(rows, 2), "cpu")
    assert found["loss"] == found["next_sentence_loss"]
    assert not {"masked_loss", "perplexity", "tokens"} & set(found)
