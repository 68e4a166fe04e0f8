"""Fenced blocks of a Markdown page, and running a page's blocks from top to bottom in one folder.

How a block is run follows from its info string:

    console        lines after `$ ` are commands, the rest is output and only shown
    bash           a script
    python         executed; the blocks of a page share their names
    LANGUAGE FILE  written to FILE, for the blocks that follow (`yaml my.yaml`, `jsonl questions.jsonl`)
    text, none     only shown

A comment on the line before changes that: `<!-- not run: REASON -->`, or `<!-- exits CODE -->` for a block
whose last command shows an error message.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
SHOWN_ONLY = ("", "text", "mermaid")
RUN = ("console", "bash", "python")
_FENCE = re.compile(r"^```(?P<info>[^`\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"<!-- (?:not run: (?P<reason>[^>]*?)|exits (?P<code>\d+)) -->\n\Z")
_SHELL = re.compile(r"[|<>;&`$*]")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        file: where its text is written, if anywhere.
        reason: why it is not run, where it is marked so.
        code: exit status of its last command.
    """

    page: Path
    line: int
    language: str
    file: str
    text: str
    reason: str | None = None
    code: int = 0

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands of a console block, continued lines joined; a bash block is one."""
        if self.language == "bash":
            return [self.text]
        joined = self.text.replace("\\\n", " ")
        return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]


def pages() -> list[Path]:
    """Every page that people read."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"])


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return list(_blocks(page, text))


def _blocks(page: Path, text: str) -> Iterator[Block]:
    for found in _FENCE.finditer(text):
        language, _, file = found["info"].strip().partition(" ")
        marker = _MARKER.search(text, 0, found.start())
        yield Block(
            page, text.count("\n", 0, found.start()) + 1, language, file.strip(), found["body"],
            reason=marker["reason"] if marker else None,
            code=int(marker["code"]) if marker and marker["code"] else 0,
        )  # fmt: skip


def run_page(found: list[Block], folder: Path) -> dict[str, Any]:
    """Runs blocks in `folder`, which they find as the newcomer's checkout: recipes there, artifacts made.

    Returns:
        What the Python blocks have defined.

    Raises:
        AssertionError: a command ends otherwise than the page says, with its output.
    """
    names: dict[str, Any] = {}
    for block in found:
        if block.reason is not None:
            continue
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, block.where, "exec"), names)
        elif block.language in ("console", "bash"):
            for index, command in enumerate(block.commands):
                last = index == len(block.commands) - 1
                _expect(block, command, folder, block.code if last else 0)
    return names


def _expect(block: Block, command: str, folder: Path, code: int) -> None:
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        return  # the targets themselves are what runs this test
    if words[0] == "hanji" and not _SHELL.search(re.sub(r"'[^']*'", "", command)):
        found, output = _hanji(words[1:])
    else:
        found, output = _shell(command, folder)
    assert found == code, f"{block.where}: {command}\nends with {found} instead of {code}:\n{output}"


def _hanji(arguments: list[str]) -> tuple[int, str]:
    """The command in this process, which has imported everything already; no one is at its keyboard."""
    from hanji.cli.app import main

    output = io.StringIO()
    streams = patch.multiple(
        sys, argv=["hanji", *arguments], stdin=io.StringIO(), stdout=output, stderr=output
    )
    with streams:
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), output.getvalue()
    return 0, output.getvalue()


def _shell(script: str, folder: Path) -> tuple[int, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
