import numpy as np
import pytest
import torch
from torch import nn

from hanji.contracts.batch import IGNORED
from hanji.contracts.rows import TokenRows
from hanji.evaluation.scores import SCORES, measure
from hanji.evaluation.subject import Subject
from hanji.generation import Generation
from hanji.objectives.likelihood import Likelihood


class Uniform(nn.Module):
    """Gives every one of 16 tokens the same probability."""

    def negative_log_likelihood(self, batch):
        count = (batch.labels != IGNORED).sum()
        return {"nll": count * torch.log(torch.tensor(16.0)), "correct": count * 0}


class OfTexts(Likelihood):
    name, rows = "clm", "text"


class OfChats(OfTexts):
    name, rows = "sft", "chat"


def batches():
    """Two tokens by turns: a bigram knows what comes next."""
    ids = np.tile([3, 5], 50).astype(np.int32)
    return iter([TokenRows(ids, np.array([100]), np.ones(100, bool), np.array([200]))])


def test_a_model_of_text_is_scored_beside_a_bigram_at_the_same_positions():
    scores = measure(Subject(Uniform(), "cpu", 16, OfTexts(), batches, batches))
    assert list(scores) == ["held_out", "bigram"]
    assert scores["held_out"]["loss"] == pytest.approx(np.log(16))
    assert scores["held_out"]["bits_per_byte"] == pytest.approx(4 * 99 / 200)
    assert scores["bigram"]["tokens"] == scores["held_out"]["tokens"] == 99
    assert scores["bigram"]["loss"] < 0.1


def test_chats_have_no_bigram_but_their_answers_are_counted():
    answers = [Generation([1, 2], "a", "stop"), Generation([1], "b", "length"), Generation([2], "", "stop")]
    scores = measure(Subject(Uniform(), "cpu", 16, OfChats(), batches, batches, answers, chats=True))
    assert list(scores) == ["held_out", "endings"]
    assert scores["endings"] == {"ended": 2, "answers": 3}


def test_a_model_that_continues_text_is_not_asked_to_end():
    answers = [Generation([1], "b", "length")]
    assert measure(Subject(Uniform(), "cpu", 16, answers=answers)) == {}


@pytest.mark.parametrize("name", list(SCORES))
def test_every_score_is_empty_where_nothing_is_known(name):
    assert SCORES.load(name)(Subject(Uniform(), "cpu", 16)) == {}
