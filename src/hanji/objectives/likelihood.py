"""What the likelihood objectives share: they differ in how a row becomes tokens, and which are labels."""

from __future__ import annotations

from collections.abc import Iterable

from hanji.contracts.batch import Batch
from hanji.contracts.loss import Loss, Term
from hanji.contracts.protocols import Head, Policy, Task
from hanji.contracts.rows import TokenRows


class Likelihood:
    """Mean −log p(token) over the trained tokens of rows, each predicted from those before it."""

    head: Head = "causal"
    overlong: tuple[str, ...] = ("drop", "split", "error", "truncate")
    reference = False

    def bind(self, task: Task) -> None:
        """Needs nothing."""

    def collate(self, rows: TokenRows) -> Batch:
        """Labels are the next tokens, where those are trained."""
        return Batch.causal(rows)

    def counts(self, batch: Batch) -> dict[str, float]:
        """The unit is the trained token."""
        return {"tokens": batch.trained_tokens}

    def prepare(self, policy: Policy, batch: Batch) -> Iterable[Batch]:
        """The batch as it is."""
        return (batch,)

    def loss(self, policy: Policy, batch: Batch) -> Loss:
        """Summed −log p, the model's auxiliary loss where it has one, and accuracy beside them."""
        found = policy.negative_log_likelihood(batch)
        terms = {"nll": Term(found["nll"], "tokens")}
        if "auxiliary" in found:
            terms["auxiliary"] = Term(found["auxiliary"], "tokens")
        return Loss(terms, {"accuracy": (float(found["correct"]), "tokens")})
