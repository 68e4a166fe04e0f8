"""`hanji show DATA --rows`: each kind of row as people read it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hanji.cli.rows import packed_rows, sample_rows
from hanji.contracts.errors import ConfigError
from hanji.data.prepare import prepare
from hanji.data.sources import Source


def shown(tmp_path: Path, records: list[dict[str, Any]], width: int = 60) -> list[str]:
    """The lines below the headings of all rows, without the margin."""
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    prepare([Source(str(tmp_path / "rows.jsonl"))], tmp_path / "out")
    console = Console(file=io.StringIO(), width=width)
    console.print(sample_rows(tmp_path / "out", "train", len(records)))
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    return [line.removeprefix("   ") for line in lines if line and "───" not in line][1:]


def test_texts(tmp_path: Path) -> None:
    assert shown(tmp_path, [{"text": "종이 [bold]"}]) == ["종이 [bold]"]


def test_chats_with_calls_are_wrapped_beside_the_role(tmp_path: Path) -> None:
    call = {"name": "look", "arguments": {"at": "한지"}}
    messages = [
        {"role": "user", "content": "What is hanji, and how long does it last when it is kept dry?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "paper"},
        {"role": "assistant", "content": "Paper.", "tool_calls": [call]},
    ]
    assert shown(tmp_path, [{"messages": messages}]) == [
        "user      What is hanji, and how long does it last when",
        "          it is kept dry?",
        'assistant → look {"at": "한지"}',
        "tool      paper",
        "assistant Paper.",
        '          → look {"at": "한지"}',
    ]


@pytest.mark.parametrize(
    ("record", "lines"),
    [
        ({"text": "good", "label": 1}, ["text      good", "label     1"]),
        ({"text": "good", "label": ["b", "a"]}, ["text      good", "label     a · b"]),
        ({"text": "good", "label": []}, ["text      good", "label     none"]),
        (
            {"sentence1": "a", "sentence2": "b", "score": 3.8},
            ["text      a", "text_pair b", "label     3.8"],
        ),
    ],
)
def test_labelled_rows(record: dict[str, Any], lines: list[str], tmp_path: Path) -> None:
    assert shown(tmp_path, [record]) == lines


def test_preferences(tmp_path: Path) -> None:
    plain = {"prompt": "What?", "chosen": "paper", "rejected": "fish", "system": "Be brief.", "margin": 2.5}
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "look", "arguments": {}}]}
    several = [call, {"role": "tool", "content": "paper"}, {"role": "assistant", "content": "Paper."}]
    assert shown(tmp_path, [plain, {"prompt": "What?", "chosen": several, "rejected": "fish"}]) == [
        "system    Be brief.",
        "user      What?",
        "chosen    paper",
        "rejected  fish",
        "margin    2.5",
        "user      What?",
        "chosen    → look {}",
        "tool      paper",
        "assistant Paper.",
        "rejected  fish",
    ]


def test_tokens_of_other_kinds_are_refused(tmp_path: Path) -> None:
    shown(tmp_path, [{"text": "good", "label": 1}])
    with pytest.raises(ConfigError, match="texts and chats only") as caught:
        packed_rows(tmp_path / "out", "train", "none", 64)
    assert caught.value.value == "'labelled'"
