"""Preferences: the forms in which they are found, what is refused, and what is stored."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hanji.contracts.errors import DataError
from hanji.data.kinds.preference import PreferenceRow
from hanji.data.prepare import prepare
from hanji.data.prepared import read_rows, row_kind, splits
from hanji.data.records import RowProblem
from hanji.data.rows import ROW_FORMATS, RowMaker
from hanji.data.sources import Source

SYSTEM = {"role": "system", "content": "Be brief."}
ASK = {"role": "user", "content": "What is hanji?"}
GOOD = {"role": "assistant", "content": "Korean paper."}
BAD = {"role": "assistant", "content": "A fish."}
MORE = {"role": "user", "content": "Since when?"}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": "한지"}}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
TOLD = {"role": "tool", "content": "paper"}

SAMPLES: dict[str, Any] = {
    "preference": {
        "prompt": "What is hanji?",
        "chosen": "Korean paper.",
        "rejected": "A fish.",
        "system": "Be brief.",
    },
    "alpaca-preference": {
        "instruction": "What is hanji?",
        "input": "",
        "output": "Korean paper.",
        "chosen": "Korean paper.",
        "rejected": "A fish.",
        "system": "Be brief.",
    },
    "chat-preference": {"chosen": [SYSTEM, ASK, GOOD], "rejected": [SYSTEM, ASK, BAD]},
}


def row_of(value: dict[str, Any], row_format: str = "auto", **columns: str) -> PreferenceRow:
    row = RowMaker(row_format, columns, None).row(value, "file")
    assert isinstance(row, PreferenceRow)
    return row


def parts(row: PreferenceRow) -> tuple[list[Any], list[Any], list[Any]]:
    return list(row.messages), list(row.chosen), list(row.rejected)


def written(path: Path, records: list[dict[str, Any]], **options: Any) -> Source:
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records), encoding="utf-8")
    return Source(str(path), **options)


def rows_of(directory: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [row for batch in read_rows(directory, name) for row in batch] for name in splits(directory)
    }


@pytest.mark.parametrize("name", [name for name, found in ROW_FORMATS.items() if found.kind == "preference"])
def test_every_form_is_recognised_and_gives_the_same_row(name: str) -> None:
    maker = RowMaker("auto", {}, None)
    row = maker.row(SAMPLES[name], "file")
    assert isinstance(row, PreferenceRow) and maker.row_formats == [name]
    assert parts(row) == ([SYSTEM, ASK], [GOOD], [BAD])
    assert row == row_of(SAMPLES[name], name)
    assert (row.tools, row.margin) == (None, None)


@pytest.mark.parametrize(
    ("value", "prompt", "chosen", "rejected"),
    [
        ({"prompt": [SYSTEM, ASK], "chosen": [GOOD], "rejected": "A fish."}, [SYSTEM, ASK], [GOOD], [BAD]),
        ({"prompt": [ASK, GOOD, MORE], "chosen": "1", "rejected": "2"}, [ASK, GOOD, MORE], None, None),
        # whole chats beside the prompt that they begin with
        ({"prompt": "What is hanji?", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]}, [ASK], [GOOD], [BAD]),
        (
            {"prompt": "What is hanji?", "chosen": [SYSTEM, ASK, GOOD], "rejected": [SYSTEM, ASK, BAD]},
            [SYSTEM, ASK],
            [GOOD],
            [BAD],
        ),
        (
            {"chosen": [ASK, GOOD, MORE, GOOD], "rejected": [ASK, GOOD, MORE, BAD]},
            [ASK, GOOD, MORE],
            [GOOD],
            [BAD],
        ),
        ({"chosen": [ASK, CALLS, TOLD, GOOD], "rejected": [ASK, BAD]}, [ASK], [CALLS, TOLD, GOOD], [BAD]),
        (
            {"prompt": "What is hanji?", "chosen": [CALLS, TOLD, GOOD], "rejected": [BAD]},
            [ASK],
            [CALLS, TOLD, GOOD],
            [BAD],
        ),
        (
            {
                "instruction": "Mend.",
                "input": "freind",
                "history": [["a", "b"]],
                "chosen": "1",
                "rejected": "2",
            },
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "Mend.\n\nfreind"},
            ],
            None,
            None,
        ),
        # what the popular sets have besides does not matter
        (
            {
                "messages": [ASK, GOOD],
                "prompt": "What is hanji?",
                "chosen": [ASK, GOOD],
                "rejected": [ASK, BAD],
            },
            [ASK],
            [GOOD],
            [BAD],
        ),
    ],
)
def test_prompts_and_answers(
    value: dict[str, Any], prompt: list[Any], chosen: list[Any] | None, rejected: list[Any] | None
) -> None:
    one, two = ([{"role": "assistant", "content": number}] for number in "12")
    assert parts(row_of(value)) == (prompt, chosen or one, rejected or two)


@pytest.mark.parametrize(
    ("more", "margin"),
    [
        ({}, None),
        ({"margin": None}, None),
        ({"margin": ""}, None),
        ({"margin": 2}, 2.0),
        ({"margin": "0.5"}, 0.5),
        ({"score_chosen": 8.5, "score_rejected": 6}, 2.5),
        ({"score_chosen": 8.5}, None),
        ({"margin": 1.0, "score_chosen": 8.5, "score_rejected": 6}, 1.0),
    ],
)
def test_margins(more: dict[str, Any], margin: float | None) -> None:
    row = row_of({**SAMPLES["preference"], **more})
    assert row.margin == margin and type(row.margin) is type(margin)


def test_columns_are_mapped() -> None:
    value = {"q": "What is hanji?", "win": "Korean paper.", "lose": "A fish.", "by": "3"}
    row = row_of(value, prompt="q", chosen="win", rejected="lose", margin="by")
    assert parts(row) == ([ASK], [GOOD], [BAD]) and row.margin == 3.0


@pytest.mark.parametrize(
    ("value", "field", "problem"),
    [
        ({"prompt": "x", "chosen": "a", "rejected": None}, "rejected", "no rejected"),
        ({"prompt": "x", "chosen": "", "rejected": "b"}, "chosen", "is empty"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "prompt", "must be text"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "prompt", "is empty"),
        ({"prompt": "x", "chosen": [], "rejected": [BAD]}, "chosen", "is empty"),
        ({"prompt": [SYSTEM], "chosen": "a", "rejected": "b"}, "chosen[0].role", "speaks first"),
        ({"prompt": [ASK, SYSTEM], "chosen": "a", "rejected": "b"}, "prompt[1].role", "after the chat began"),
        ({"prompt": [SYSTEM, ASK], "system": "x", "chosen": "a", "rejected": "b"}, "system", "twice"),
        ({"prompt": "x", "chosen": [GOOD, MORE], "rejected": [BAD]}, "chosen[1].role", "begins and ends"),
        ({"prompt": "x", "chosen": [GOOD], "rejected": [BAD, TOLD]}, "rejected[1].role", "begins and ends"),
        ({"prompt": "x", "chosen": [GOOD], "rejected": [BAD, TOLD, BAD]}, "rejected[1].role", "not called"),
        ({"prompt": "x", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]}, "prompt", "begin with the prompt"),
        ({"prompt": "x", "chosen": "a", "rejected": "b", "margin": "much"}, "margin", "must be a number"),
        ({"prompt": "x", "chosen": "a", "rejected": "b", "margin": True}, "margin", "must be a number"),
        ({"prompt": "x", "chosen": "a", "rejected": "b", "tools": [{}]}, "tools[0]", "without a name"),
        ({"chosen": "a", "rejected": "b"}, "chosen", "must be a list of messages"),
        ({"chosen": [ASK, GOOD], "rejected": [MORE, BAD]}, "rejected[0]", "do not begin alike"),
        ({"chosen": [ASK, GOOD], "rejected": []}, "rejected[0]", "do not begin alike"),
        ({"chosen": [ASK, GOOD], "rejected": [ASK, {"role": "x"}]}, "rejected[1].role", "no such role"),
        ({"chosen": [ASK, GOOD, MORE, GOOD], "rejected": [ASK, GOOD, ASK, BAD]}, "chosen[2].role", "begins"),
    ],
)
def test_a_malformed_record_names_its_field(value: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(RowProblem, match=problem) as caught:
        row_of(value)
    assert caught.value.field == field
    assert caught.value.expected


def test_rows_come_back_as_they_were_cleaned(tmp_path: Path) -> None:
    tool = {"name": "look"}
    records = [
        {
            "prompt": "한\x00지?",
            "chosen": [CALLS, TOLD, GOOD],
            "rejected": "종이\r\n",
            "tools": [tool],
            "margin": 1,
        },
        {"prompt": [SYSTEM, ASK], "chosen": "네", "rejected": "가"},
    ]
    found = prepare([written(tmp_path / "a.jsonl", records)], tmp_path / "out")
    assert row_kind(tmp_path / "out") == found["rows"] == "preference"
    first, second = rows_of(tmp_path / "out")["train"]
    assert first["messages"] == [{"role": "user", "content": "한지?"}]
    assert first["chosen"] == [CALLS, TOLD, GOOD]
    assert first["rejected"] == [{"role": "assistant", "content": "종이\n"}]
    assert first["tools"] == [{"type": "function", "function": tool}] and first["margin"] == 1.0
    assert second["messages"] == [SYSTEM, ASK] and second["chosen"] == [
        {"role": "assistant", "content": "네"}
    ]
    assert second["tools"] is None and second["margin"] is None
    characters = 3 + len("paper" + "Korean paper.") + 3 + len("Be brief." + "What is hanji?") + 1 + 1
    assert found["splits"]["train"]["characters"]["total"] == characters
    stored = pq.read_table(tmp_path / "out" / "train-00000.parquet")
    names = ["messages", "chosen", "rejected", "tools", "margin", "source", "id"]
    assert stored.schema.names == names and stored.schema.field("margin").type == pa.float64()


def test_what_arrow_writes_is_read(tmp_path: Path) -> None:
    chats = {"chosen": [ASK, GOOD], "rejected": [ASK, BAD], "score_chosen": 9.0, "score_rejected": 1.0}
    pq.write_table(pa.Table.from_pylist([{"prompt": ASK["content"], **chats}]), tmp_path / "a.parquet")
    prepare([Source(str(tmp_path / "a.parquet"))], tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")["train"]
    assert (row["messages"], row["chosen"], row["rejected"], row["margin"]) == ([ASK], [GOOD], [BAD], 8.0)


@pytest.mark.parametrize("end", ["", "\x00", "\u200b\x07"])
def test_answers_that_are_equal_once_cleaned_are_malformed(end: str, tmp_path: Path) -> None:
    records = [
        {"prompt": "x", "chosen": "a", "rejected": "b"},
        {"prompt": "x", "chosen": "가" + end.strip("\x00\x07"), "rejected": "가" + end},
    ]
    source = written(tmp_path / "a.jsonl", records)
    with pytest.raises(DataError, match="nothing to learn") as caught:
        prepare([source], tmp_path / "out")
    assert caught.value.where == f"{tmp_path}/a.jsonl:2: rejected"
    found = prepare([source], tmp_path / "skip", on_error="skip")
    assert (found["skipped"], splits(tmp_path / "skip")) == (1, {"train": 1})


def test_a_prompt_stays_on_one_side_with_the_chat_that_begins_like_it(tmp_path: Path) -> None:
    shares = {"validation": 0.3}
    asked = [f"question {index}" for index in range(150)]
    pairs = [
        {"prompt": text, "chosen": f"good {number}", "rejected": "bad"}
        for text in asked
        for number in range(2)
    ]
    later = [
        {
            "prompt": [
                {"role": "user", "content": text},
                GOOD,
                {"role": "user", "content": "And?"},
            ],
            "chosen": "1",
            "rejected": "2",
        }
        for text in asked
    ]
    prepare([written(tmp_path / "a.jsonl", pairs + later)], tmp_path / "out", split=shares)
    chats = [{"question": text, "answer": "x"} for text in asked]
    prepare([written(tmp_path / "b.jsonl", chats)], tmp_path / "chats", split=shares)
    sides = rows_of(tmp_path / "out")
    for name, part in rows_of(tmp_path / "chats").items():
        of_chats = {row["messages"][0]["content"] for row in part}
        assert {row["messages"][0]["content"] for row in sides[name]} == of_chats
        assert len(sides[name]) == 3 * len(of_chats) > 60


def test_copies_weights_and_kinds(tmp_path: Path) -> None:
    base = {"prompt": "x", "chosen": "a", "rejected": "b"}
    records = [base, base, {**base, "margin": 1}, {**base, "rejected": "c"}]
    source = written(tmp_path / "a.jsonl", records, weight=2)
    found = prepare([source], tmp_path / "out")
    assert (found["duplicates"], found["repeated"], splits(tmp_path / "out")) == (1, 3, {"train": 6})
    assert "labels" not in found
    text = written(tmp_path / "b.jsonl", [{"text": "x"}])
    with pytest.raises(DataError, match="preferences and texts cannot be prepared together"):
        prepare([source, text], tmp_path / "both")


def test_near_copies_are_found_in_answers_too(tmp_path: Path) -> None:
    answers = [" ".join(f"w{row}x{at}" for at in range(30)) for row in range(60)]
    records = [
        {"prompt": f"question {copy} {index}", "chosen": answer, "rejected": f"no {index}"}
        for copy in range(2)
        for index, answer in enumerate(answers)
    ]
    source = written(tmp_path / "a.jsonl", records)
    shares = {"validation": 0.3}
    prepare([source], tmp_path / "plain", split=shares)
    found = prepare([source], tmp_path / "out", split=shares, decontaminate=True)
    before, after = rows_of(tmp_path / "plain"), rows_of(tmp_path / "out")
    trained = {row["chosen"][0]["content"] for row in after["train"]}
    kept = [row for row in before["validation"] if row["chosen"][0]["content"] not in trained]
    assert after["validation"] == kept
    assert found["contaminated"] == len(before["validation"]) - len(kept) > 0


def test_real_judgements_of_people(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "preference" / "pandalm-human.jsonl.gz"
    found = prepare([Source(str(path))], tmp_path, on_error="skip", limit=300, deduplicate="none")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = [json.loads(next(file)) for _ in range(300)]
    clear = [
        r for r in records if r["chosen"].strip() and r["rejected"].strip() and r["chosen"] != r["rejected"]
    ]
    rows = rows_of(tmp_path)["train"]
    assert found["sources"][path.name]["row_formats"] == ["preference"]
    assert found["skipped"] == 300 - len(clear) > 0
    assert [plain(row["chosen"][0]["content"]) for row in rows] == [plain(r["chosen"]) for r in clear]


def plain(text: str) -> str:
    return re.sub(r"\s+", "", text)


def test_real_answers_that_a_model_wrote(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "preference" / "rasbt-pref-1100.json.gz"
    found = prepare([Source(str(path))], tmp_path, on_error="skip")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = json.load(file)
    same = sum(record["chosen"] == record["rejected"] for record in records)
    assert found["sources"][path.name]["row_formats"] == ["alpaca-preference"]
    assert (found["read"], found["skipped"], found["duplicates"]) == (1100, same, 0)
    assert sum(splits(tmp_path).values()) == 1100 - same
