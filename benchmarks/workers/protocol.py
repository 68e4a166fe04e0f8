"""A worker answers questions: one JSON object a line on stdin, one answer a line on what was stdout.

Imports nothing but the standard library: a peer's environment has no hanji.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

Answer = dict[str, Any]


def serve(handlers: Mapping[str, Callable[..., Answer]]) -> None:
    """Answers `{"do": name, ...}` with `handlers[name](...)` until stdin ends.

    Whatever else prints to stdout (progress bars, warnings) goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        answer = handlers[question.pop("do")](**question)
        answers.write(json.dumps(answer) + "\n")
