"""A peer of benchmarks.generate: vLLM's build for CPU, fp32, eager, its engine stepped in this process.

Runs in an environment without hanji. Arguments: a folder with the model and requests; as JSON, `slots` and
`context`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.workers.traffic import Asked, Told, in_flight, serve_run

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # answers go to stdout
}  # fmt: skip


class Vllm:
    """An engine that takes as many sequences at a time as there are slots."""

    def __init__(self, directory: Path, *, slots: int, context: int) -> None:
        from vllm import EngineArgs, LLMEngine

        arguments = EngineArgs(
            model=str(directory), dtype="float32", enforce_eager=True, max_num_seqs=slots,
            max_model_len=context, enable_prefix_caching=False, disable_log_stats=True,
        )  # fmt: skip
        self.engine, self.slots = LLMEngine.from_engine_args(arguments), slots
        self.asked = 0

    def run(self, asked: Sequence[Asked]) -> list[Told]:
        """See `traffic.Run`."""
        from vllm import SamplingParams

        told, sent, base = [Told() for _ in asked], [0.0] * len(asked), self.asked
        self.asked += len(asked)

        def send(number: int) -> None:
            one, sent[number] = asked[number], time.perf_counter()
            params = SamplingParams(temperature=0.0, max_tokens=one.new_tokens, ignore_eos=True)
            self.engine.add_request(str(base + number), {"prompt_token_ids": one.prompt}, params)

        def wait() -> list[int]:
            done = []
            for output in self.engine.step():
                number = int(output.request_id) - base
                if not told[number].ids:
                    told[number].first = time.perf_counter() - sent[number]
                told[number].ids = list(output.outputs[0].token_ids)
                if output.finished:
                    done.append(number)
            return done

        in_flight(asked, self.slots, send, wait)
        return told


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    serve_run(directory, Vllm(directory, **json.loads(sys.argv[2])).run)
