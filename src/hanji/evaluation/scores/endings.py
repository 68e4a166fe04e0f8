"""How many answers end by themselves, rather than at the limit of length."""

from __future__ import annotations

from hanji.evaluation.subject import Subject


def score(subject: Subject) -> dict[str, float]:
    """`answers`: how many were asked for; `ended`: how many of them the model ended; for chat models."""
    if not subject.answers or not subject.chats:
        return {}
    ended = sum(answer.finish_reason == "stop" for answer in subject.answers)
    return {"ended": float(ended), "answers": float(len(subject.answers))}
