"""What an interpolated bigram model of the same tokens achieves: the mark to pass, for models of text."""

from __future__ import annotations

from hanji.evaluation.ngrams import Bigram
from hanji.evaluation.subject import Subject


def score(subject: Subject) -> dict[str, float]:
    """The bigram's own figures; chats have none, since what is asked there is outside of a bigram's reach."""
    if subject.objective is None or subject.objective.rows != "text" or subject.objective.head != "causal":
        return {}
    if subject.training is None or subject.held_out is None:
        return {}
    return Bigram.fit(subject.training(), subject.vocabulary_size).score(subject.held_out())
