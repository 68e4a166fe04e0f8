"""`hanji serve` as a person starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path


class Process:
    """`hanji serve` in a process of its own, stopped by its own id."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._log = (folder / "serve.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hanji", "serve", *arguments, "--port", "0"], cwd=folder,
            stdout=self._log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def url(self) -> str:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://[\d.]+:\d+", self.said())):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        return found.group()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    def said(self) -> str:
        return Path(self._log.name).read_text()

    def end(self, sign: int = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        return self.process.wait(60)
