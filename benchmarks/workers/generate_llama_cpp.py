"""A peer of benchmarks.generate: llama.cpp with F32 weights and cache, asked through its server on loopback.

Runs in an environment without hanji. Arguments: a folder with `model.gguf` and requests; as JSON, `slots` and
`context`.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xllamacpp

from benchmarks.workers.traffic import Asked, Told, serve_run, threads

F32 = 0
"""ggml's number of the type, for a cache that rounds nothing."""
FLASH_ATTENTION_OFF = 0
TIMEOUT_SECONDS = 600


class LlamaCpp:
    """A server with as many slots as requests at a time; nothing is kept of a prompt."""

    def __init__(self, directory: Path, *, slots: int, context: int) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(directory / "model.gguf")
        params.n_ctx, params.n_parallel = slots * context, slots
        params.n_gpu_layers = 0
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type(F32)
        # with its flash attention some greedy tokens are others than transformers', and it was slower here
        params.flash_attn_type = xllamacpp.llama_flash_attn_type(FLASH_ATTENTION_OFF)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads()
        params.fit_params = False
        params.cache_prompt = False
        params.cache_ram_mib = 0
        params.verbosity = 0
        self.server = xllamacpp.Server(params)
        self.clients = ThreadPoolExecutor(slots)
        self.open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def run(self, asked: Sequence[Asked]) -> list[Told]:
        """See `traffic.Run`: each client asks its next question when it is answered."""
        return list(self.clients.map(self._stream, asked))

    def answers(self, asked: Sequence[Asked]) -> list[Told]:
        """The same answers, whole: while it streams, it does not tell the ids of unfinished characters."""
        return list(self.clients.map(self._whole, asked))

    def _stream(self, one: Asked) -> Told:
        told, last, sent = Told(), b"{}", time.perf_counter()
        with self._ask(one, stream=True) as lines:
            for line in lines:
                if line.startswith(b"data: "):
                    last = line[6:]
                    if told.first < 0:
                        told.first = time.perf_counter() - sent
        told.count = json.loads(last)["tokens_predicted"]
        return told

    def _whole(self, one: Asked) -> Told:
        with self._ask(one, stream=False) as reply:
            return Told(json.loads(reply.read())["tokens"])

    def _ask(self, one: Asked, *, stream: bool) -> Any:
        question = {
            "prompt": one.prompt, "n_predict": one.new_tokens, "ignore_eos": True, "return_tokens": True,
            "stream": stream, "cache_prompt": False, "temperature": 0.0, "top_k": 1, "repeat_penalty": 1.0,
        }  # fmt: skip
        body, kind = json.dumps(question).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(self.server.listening_address + "/completion", body, kind)
        return self.open(request, timeout=TIMEOUT_SECONDS)


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    side = LlamaCpp(directory, **json.loads(sys.argv[2]))
    serve_run(directory, side.run, side.answers)
