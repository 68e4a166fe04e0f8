"""A peer of benchmarks.generate: transformers' continuous batching, as `generate_batch` runs it.

`generate_batch` itself has one length for all answers; its manager takes one for each.

Arguments: a folder with the model and requests; as JSON, `slots`, the requests at a time, `context`, and
`sized`: whether its cache and passes are of a size for these, and a CPU, or as they are by default.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

from benchmarks.workers.traffic import Asked, Told, in_flight, serve_run

PAGE = 256
"""Tokens of a page, transformers' default."""
BATCH_TOKENS = 512
"""Tokens of one forward pass; by default they and the pages are as many as memory holds."""
NEVER = -1
"""The token that ends an answer: none."""


class Continuous:
    """A manager that lives as long as the process."""

    def __init__(self, directory: Path, *, slots: int, context: int, sized: bool) -> None:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        pages = -(-context // PAGE) + 1
        self.slots = slots
        size = ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=slots * pages, max_batch_tokens=max(BATCH_TOKENS, slots),
            max_requests_per_batch=slots, allow_block_sharing=False,
        )  # fmt: skip
        self.manager = model.init_continuous_batching(
            GenerationConfig(do_sample=False, eos_token_id=NEVER, pad_token_id=0),
            size if sized else ContinuousBatchingConfig(allow_block_sharing=False),
        )
        self.manager.warmup()
        self.manager.start()

    def run(self, asked: Sequence[Asked]) -> list[Told]:
        """See `traffic.Run`.

        Raises:
            RuntimeError: a request failed, or the manager's thread ended.
        """
        told, numbers = [Told() for _ in asked], dict[str, int]()

        def send(number: int) -> None:
            one = asked[number]
            name = self.manager.add_request(one.prompt, max_new_tokens=one.new_tokens, record_timestamps=True)
            numbers[name] = number

        def wait() -> list[int]:
            found = self.manager.get_result(timeout=1)
            if found is None:
                if not self.manager.is_running():
                    raise RuntimeError("transformers' generation thread has ended")
                return []
            if found.error is not None:
                raise RuntimeError(found.error)
            number = numbers[found.request_id]
            told[number] = Told(found.generated_tokens, found.timestamps[0] - found.created_time)
            return [number]

        in_flight(asked, self.slots, send, wait)
        return told


if __name__ == "__main__":
    directory, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    side = Continuous(directory, **settings)
    serve_run(directory, side.run)
    side.manager.stop(block=True, timeout=5)
