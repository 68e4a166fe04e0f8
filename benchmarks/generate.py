"""The generation engine beside others: useful tokens a second, and time to the first token.

    python -m benchmarks.generate [--model 9m|smollm2] [--peer static vllm] [--part peers] [--rounds 3]

`peers`: 64 requests of uneven prompts (16 to 200 tokens) and answers (8 to 120, no token ends them), greedy,
fp32, at concurrency 1 and 16. So many requests are on their way at a time; the next is sent when one is
answered. Slots are as many. Peers are transformers' `generate` in static batches (`static`), the manager of
its continuous batching (`continuous`, its cache and passes of a size for these requests and a CPU;
`continuous-default`, of its own), llama.cpp in F32 (`llama.cpp`), `generate_batch` of transformers, one call
for all requests with one length of answers (`generate_batch`, so many at a time; `generate_batch-default`, as
many as it takes), and vLLM's build for CPU (`vllm`; its environment takes gigabytes). The first three are
measured where none is named. Nobody keeps anything of a prompt for the next.

`prefix`: requests that share 1,024 tokens, answers of 16: prefixes reused beside read anew.
`adapters`: the uneven requests through eight LoRAs in turn, beside the base alone.

Greedy answers to the first requests are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environments import peer_environment
from benchmarks.harness import Worker, interleave, report
from benchmarks.traffic import (
    SHARED_TOKENS,
    Text,
    first_tokens,
    same_answers,
    sharing,
    uneven,
    write_loras,
    write_model,
    write_requests,
)
from benchmarks.workers.traffic import Asked, context_of, threads
from hanji.export.exporting import export
from hanji.generation.engine import PREFIX_BYTES
from hanji.tokenizers.tokenizer import Tokenizer

OURS = "benchmarks.workers.generate_ours"
PEERS = (
    "static", "continuous", "llama.cpp", "generate_batch", "generate_batch-default", "continuous-default",
    "vllm",
)  # fmt: skip
BY_DEFAULT = PEERS[:3]
PARTS = ("peers", "prefix", "adapters")
UNEVEN = "requests.json"
COMPARED = 4
"""Answers that are compared, token by token."""
ADAPTERS = 8
BATCH = 16
"""Concurrency of `prefix` and `adapters`."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What all comparisons of a run stand on.

    Attributes:
        directory: with the model and the requests. `told`: what every line says of them.
    """

    directory: Path
    rounds: int
    told: Mapping[str, Any]

    def ours(self, requests: str = UNEVEN, **settings: Any) -> Side:
        """The engine in these settings, with these requests."""
        return Side(Worker(OURS, self.directory, json.dumps(settings)), requests)

    def peer(self, name: str, settings: Mapping[str, Any]) -> Side:
        """A peer, in its environment."""
        kind, python = name.removesuffix("-default").replace(".", "_"), Path(sys.executable)
        module = f"benchmarks.workers.generate_{kind.removeprefix('generate_')}"
        if kind == "generate_batch":
            settings = {"slots": settings["slots"] if name == kind else None}
        elif kind == "continuous":
            settings = {**settings, "sized": name == kind}
        elif name == "llama.cpp":
            python = peer_environment("llama_cpp") / "python"
            if not (self.directory / "model.gguf").exists():
                export(str(self.directory), "gguf", self.directory / "model.gguf", type="f32")
        elif name == "vllm":
            # text needs none of these, and builds for CUDA fail beside a torch for CPU
            unused = ("torchaudio", "torchcodec", "torchvision")
            python = peer_environment("vllm", constrained=False, without=unused) / "python"
        return Side(Worker(module, self.directory, json.dumps(settings), python=python), UNEVEN)


class Side:
    """A worker with its requests, and what it told, by round.

    Attributes:
        first: seconds to first tokens.
        tokens_per_cpu_second: what other work on the same cores disturbs less than the clock.
    """

    def __init__(self, worker: Worker, requests: str) -> None:
        self.worker, self.requests = worker, requests
        self.first: list[list[float]] = []
        self.tokens_per_cpu_second: list[float] = []

    def answers(self) -> list[list[int]]:
        """Greedy answers to the first requests; they warm it, too."""
        found: list[list[int]] = self.worker.ask("answers", count=COMPARED, requests=self.requests)["ids"]
        return found

    def speed(self) -> float:
        """Useful tokens a second of all requests."""
        found = self.worker.ask("timed", requests=self.requests)
        self.first.append(found["first"])
        self.tokens_per_cpu_second.append(found["tokens"] / found["cpu_seconds"])
        return float(found["tokens"] / found["seconds"])


def compare(
    ground: Ground, name: str, sides: Mapping[str, Side], concurrency: int, *, are_same: bool = True
) -> None:
    """Measures all sides in turns; one line for each beside `ours`.

    Args:
        are_same: whether answers must be the same on all sides, or other than ours.
    """
    answers = {side: one.answers() for side, one in sides.items()}
    ours = answers.pop("ours")
    for side, theirs in answers.items():
        if are_same:
            same_answers(side, ours, theirs)
        elif ours == theirs:
            raise SystemExit(f"not the work that was meant: the answers are those of {side}")
    figures = interleave({side: one.speed for side, one in sides.items()}, ground.rounds)
    for one in sides.values():
        one.worker.close()
    for side in answers:
        both = {"ours": sides["ours"], "peer": sides[side]}
        cpu = {f"{who}_per_cpu_second": median(one.tokens_per_cpu_second) for who, one in both.items()}
        first = first_tokens({who: one.first for who, one in both.items()})
        report(
            name, {"ours": figures["ours"], "peer": figures[side]}, unit="useful tokens/s", against=side,
            concurrency=concurrency, slots=concurrency, **first, **cpu, **ground.told,
        )  # fmt: skip


def compare_peers(ground: Ground, asked: Sequence[Asked], peers: Sequence[str], concurrency: int) -> None:
    """The uneven requests, everyone with as many slots as requests at a time."""
    print(f"concurrency {concurrency}")
    settings = {"slots": concurrency, "context": context_of(asked)}
    sides = {"ours": ground.ours(**settings), **{peer: ground.peer(peer, settings) for peer in peers}}
    compare(ground, "generate", sides, concurrency)


def compare_prefix(ground: Ground, asked: Sequence[Asked]) -> None:
    """Requests that share a prefix, which is computed within each run."""
    print(f"a shared prefix of {SHARED_TOKENS} tokens")
    write_requests(asked, ground.directory / "sharing.json")
    settings = {"requests": "sharing.json", "slots": BATCH, "context": context_of(asked)}
    sides = {"ours": ground.ours(**settings, prefix_bytes=PREFIX_BYTES), "no reuse": ground.ours(**settings)}
    compare(ground, "generate-prefix", sides, BATCH)


def compare_adapters(ground: Ground, asked: Sequence[Asked]) -> None:
    """The uneven requests through several adapters in turn."""
    print(f"{ADAPTERS} adapters")
    adapters = write_loras(ground.directory, ADAPTERS)
    named = [replace(one, adapter=list(adapters)[n % ADAPTERS]) for n, one in enumerate(asked)]
    write_requests(named, ground.directory / "mixed.json")
    settings = {"slots": BATCH, "context": context_of(asked)}
    mixed = ground.ours("mixed.json", **settings, adapters=adapters)
    compare(
        ground, "generate-adapters", {"ours": mixed, "base alone": ground.ours(**settings)}, BATCH,
        are_same=False,
    )  # fmt: skip


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        parameters = write_model(arguments.model, directory)
        text = Text(Tokenizer.load(directory))
        asked = uneven(text, arguments.requests)
        write_requests(asked, directory / UNEVEN)
        told = {"model": arguments.model, "parameters": parameters, "requests": len(asked)}
        print(f"a Llama of {parameters:,} parameters, {len(asked)} requests, {threads()} threads a side")
        ground = Ground(directory, arguments.rounds, {**told, "threads": threads()})
        if "peers" in arguments.part:
            for concurrency in arguments.concurrency:
                compare_peers(ground, asked, arguments.peer, concurrency)
        if "prefix" in arguments.part:
            compare_prefix(ground, sharing(text, len(asked)))
        if "adapters" in arguments.part:
            compare_adapters(ground, asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("9m", "smollm2"), default="9m")
    parser.add_argument("--peer", choices=PEERS, nargs="+", default=BY_DEFAULT)
    parser.add_argument("--part", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--concurrency", type=int, nargs="+", default=(1, 16))
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
