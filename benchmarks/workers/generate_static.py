"""A peer of benchmarks.generate: transformers' `generate` in static batches, padded on the left.

Arguments: a folder with the model and requests; as JSON, `slots`, the rows of a batch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from benchmarks.workers.traffic import Asked, Told, serve_run

PAD = 0
"""Hidden by the mask: any id would do."""


class FirstToken(StoppingCriteria):
    """Notes when the first token of a batch was there; ends nothing."""

    def __init__(self) -> None:
        self.began, self.seconds = time.perf_counter(), -1.0

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        if self.seconds < 0:
            self.seconds = time.perf_counter() - self.began
        return torch.zeros(len(input_ids), dtype=torch.bool)


class Static:
    """Batches in the order of the requests; each goes on until its longest answer is there."""

    def __init__(self, directory: Path, *, slots: int) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        self.model.generation_config = GenerationConfig(do_sample=False, pad_token_id=PAD)
        self.slots = slots

    def run(self, asked: Sequence[Asked]) -> list[Told]:
        """See `traffic.Run`. What follows a shorter answer is not counted."""
        batches = (asked[at : at + self.slots] for at in range(0, len(asked), self.slots))
        return [told for batch in batches for told in self._batch(batch)]

    def _batch(self, batch: Sequence[Asked]) -> list[Told]:
        longest = max(len(one.prompt) for one in batch)
        pads = [longest - len(one.prompt) for one in batch]
        ids = [[PAD] * pad + one.prompt for pad, one in zip(pads, batch, strict=True)]
        mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
        clock = FirstToken()
        with torch.inference_mode():
            found = self.model.generate(
                input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask),
                max_new_tokens=max(one.new_tokens for one in batch),
                stopping_criteria=StoppingCriteriaList([clock]),
            )  # fmt: skip
        rows = found[:, longest:].tolist()
        return [Told(row[: one.new_tokens], clock.seconds) for row, one in zip(rows, batch, strict=True)]


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    serve_run(directory, Static(directory, slots=json.loads(sys.argv[2])["slots"]).run)
