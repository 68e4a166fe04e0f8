"""A loss or gradient that is not finite: kept for inspection and stopped at, or left out and counted."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import tensor

from hanji.contracts.batch import Batch
from hanji.contracts.errors import TrainingError
from hanji.training.parallel import Parallel


@dataclass
class NonFinite:
    """What happens at a step whose loss or gradient norm is NaN or infinite.

    Attributes:
        directory: where the batch is saved when the run stops.
        action: `stop` at the first such step, or `skip` it: the optimizer does not move.
        most_in_a_row: with `skip`, the run stops at this many such steps one after another.
        parallel: the ranks of the run; each saves its own batch.
        skipped: steps left out so far.
        in_a_row: of these, the ones just before the next step.
    """

    directory: Path
    action: Literal["stop", "skip"] = "stop"
    most_in_a_row: int = 10
    parallel: Parallel = field(default_factory=Parallel.single)
    skipped: int = 0
    in_a_row: int = 0

    def refuses(self, step: int, loss: float, gradient_norm: float, batch: Batch) -> bool:
        """Whether this step is to be left out.

        Args:
            step: steps made before it.
            loss: over all ranks, so that all of them decide alike; so is `gradient_norm`.
            batch: this rank's, saved where the run stops.

        Raises:
            TrainingError: the run stops; it names the saved batch.
        """
        if math.isfinite(loss) and math.isfinite(gradient_norm):
            self.in_a_row = 0
            return False
        if self.action == "skip":
            self.skipped += 1
            self.in_a_row += 1
            if self.in_a_row < self.most_in_a_row:
                return True
        path = self._save(step, loss, gradient_norm, batch)
        what = "loss" if not math.isfinite(loss) else "gradient norm"
        value = loss if what == "loss" else gradient_norm
        often = f", {self.in_a_row} times in a row" if self.action == "skip" else ""
        hint = (
            "look at that batch; lower train.learning_rate or train.max_grad_norm, or lengthen train.warmup"
        )
        if self.action == "stop":
            hint += "; train.non_finite: skip leaves such steps out"
        raise TrainingError(
            f"The {what} is not finite{often}. The batch is saved in {path}.",
            where=f"step {step}",
            value=value,
            expected="a finite number",
            hint=hint,
        )

    def state(self) -> dict[str, int]:
        """The counts, for a checkpoint."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state(self, state: dict[str, int]) -> None:
        """The counts of a checkpoint."""
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]

    def _save(self, step: int, loss: float, gradient_norm: float, batch: Batch) -> Path:
        """Ids, labels and lengths as safetensors, and the figures as JSON beside them."""
        rank = f"-rank-{self.parallel.rank}" if self.parallel.world_size > 1 else ""
        path = self.directory / f"non_finite-step-{step}{rank}.safetensors"
        self.directory.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        save_file(
            {
                "input_ids": batch.input_ids.cpu().contiguous(),
                "labels": batch.labels.cpu().contiguous(),
                "lengths": tensor(batch.lengths),
            },
            partial,
        )
        partial.replace(path)
        figures: dict[str, Any] = {
            "step": step,
            "loss": str(loss),
            "gradient_norm": str(gradient_norm),
            "documents": len(batch.lengths),
            "tokens": batch.tokens,
            "trained_tokens": batch.trained_tokens,
        }
        path.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        return path
