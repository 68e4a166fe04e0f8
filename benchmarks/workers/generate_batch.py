"""A peer of benchmarks.generate: transformers' `generate_batch`, one call for all requests.

It has one length for all answers, the longest, and what follows a shorter answer is not counted.

Arguments: a folder with the model and requests; as JSON, `slots`, the requests at a time; null: as many as
`generate_batch` takes. All else is as it sizes it for the requests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

from benchmarks.workers.traffic import Asked, Told, serve_run

NEVER = -1
"""The token that ends an answer: none."""


class Batch:
    """A model whose requests all come at once."""

    def __init__(self, directory: Path, *, slots: int | None) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self.slots = slots

    def run(self, asked: Sequence[Asked]) -> list[Told]:
        """See `traffic.Run`."""
        found = self.model.generate_batch(
            [one.prompt for one in asked],
            GenerationConfig(do_sample=False, eos_token_id=NEVER, pad_token_id=0),
            ContinuousBatchingConfig(max_requests_per_batch=self.slots, allow_block_sharing=False),
            max_new_tokens=max(one.new_tokens for one in asked),
            record_timestamps=True,
        )
        return [
            Told(answer.generated_tokens[: one.new_tokens], answer.timestamps[0] - answer.created_time)
            for one, answer in zip(asked, found.values(), strict=True)
        ]


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    serve_run(directory, Batch(directory, slots=json.loads(sys.argv[2])["slots"]).run)
