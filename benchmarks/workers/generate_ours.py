"""Our side of benchmarks.generate and benchmarks.serve: the engine, stepped in this process.

Arguments: a folder with the model and requests; as JSON, `slots`, `context`, and where meant `prefix_bytes`,
`adapters` (directories by name), `waits_for_text` (a first token counts when its text is there).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.workers.traffic import Asked, Told, in_flight, serve_run
from hanji.generation import Engine, Piece, Request
from hanji.models.load import load_model
from hanji.tokenizers.tokenizer import Tokenizer


class Ours:
    """An engine whose slots are the concurrency."""

    def __init__(
        self,
        directory: Path,
        *,
        slots: int,
        context: int,
        prefix_bytes: int = 0,
        adapters: Mapping[str, str] | None = None,
        waits_for_text: bool = False,
    ) -> None:
        self.waits_for_text = waits_for_text
        self.engine = Engine(
            load_model(directory), Tokenizer.load(directory), slots=slots, context=context,
            prefix_bytes=prefix_bytes, adapters=adapters or {},
        )  # fmt: skip

    def run(self, asked: Sequence[Asked]) -> list[Told]:
        """See `traffic.Run`. Nothing is kept of the run before."""
        self.engine.prefixes.clear()
        told, done = [Told() for _ in asked], list[int]()

        def send(number: int) -> None:
            one = asked[number]
            request = Request(
                prompt=one.prompt, max_new_tokens=one.new_tokens, stop_ids=(), adapter=one.adapter
            )
            over = partial(done.append, number)
            self.engine.submit(request, partial(self._note, told[number], time.perf_counter(), over))

        def wait() -> list[int]:
            done.clear()
            self.engine.step()
            return done

        in_flight(asked, self.engine.slots, send, wait)
        return told

    def _note(self, told: Told, sent: float, over: Callable[[], Any], piece: Piece) -> None:
        if piece.error is not None:
            raise piece.error
        if told.first < 0 and (piece.text or piece.is_last or not self.waits_for_text):
            told.first = time.perf_counter() - sent
        told.ids += piece.ids
        told.text += piece.text
        if piece.is_last:
            over()


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    serve_run(directory, Ours(directory, **json.loads(sys.argv[2])).run)
