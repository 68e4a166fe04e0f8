"""Preparing as a whole: what is written, what is counted, what is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hanji.contracts.errors import ConfigError, DataError
from hanji.data import shards
from hanji.data.cleaning import Cleaning
from hanji.data.prepare import prepare
from hanji.data.prepared import read_rows, row_kind, splits, statistics
from hanji.data.sources import Source

REAL = Path(__file__).parents[3] / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"the development data sets are not at {REAL}")


class Heard:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.last: dict[str, tuple[float, float | None]] = {}

    def advance(self, phase: str, done: float, total: float | None = None, **figures: float) -> None:
        self.last[phase] = (done, total)

    def note(self, message: str) -> None:
        self.notes.append(message)


def _lines(path: Path, texts: list[str]) -> Source:
    path.write_text("\n".join(texts), encoding="utf-8")
    return Source(str(path), documents="line")


def _json_lines(path: Path, records: list[Any]) -> Source:
    text = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    path.write_text(text, encoding="utf-8")
    return Source(str(path))


def _all(directory: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [row for batch in read_rows(directory, name) for row in batch] for name in splits(directory)
    }


def test_texts_come_back_split_and_counted(tmp_path: Path) -> None:
    texts = [f"문서 {index}: 종이는 오래 간다." for index in range(500)]
    source = _lines(tmp_path / "a.txt", [*texts, "", "  ", *texts[:20]])
    heard = Heard()
    found = prepare([source], tmp_path / "out", split={"validation": 0.1, "test": 0.1}, progress=heard)
    rows = _all(tmp_path / "out")
    assert sorted(row["text"] for split in rows.values() for row in split) == sorted(texts)
    assert 20 < len(rows["validation"]) < 80 and 20 < len(rows["test"]) < 80
    assert (found["read"], found["duplicates"], found["empty"]) == (521, 20, 1)
    assert found["splits"]["train"]["bytes"]["total"] == sum(len(r["text"].encode()) for r in rows["train"])
    assert found["splits"]["test"]["characters"]["max"] == max(len(row["text"]) for row in rows["test"])
    assert found["sources"]["a.txt"]["rows"] == splits(tmp_path / "out")
    assert statistics(tmp_path / "out") == found and row_kind(tmp_path / "out") == "text"
    size = (tmp_path / "a.txt").stat().st_size
    assert heard.last == {"read a.txt": (size, size)}
    assert len({row["id"] for split in rows.values() for row in split}) == 500
    assert not (tmp_path / "out" / "skipped.jsonl").exists()


def test_adding_rows_never_moves_others(tmp_path: Path) -> None:
    texts = [f"row {index}" for index in range(300)]
    shares = {"validation": 0.2}
    prepare([_lines(tmp_path / "a.txt", texts[100:])], tmp_path / "one", split=shares)
    prepare([_lines(tmp_path / "a.txt", texts)], tmp_path / "two", split=shares)
    before, after = (
        {row["text"]: name for name, rows in _all(tmp_path / part).items() for row in rows}
        for part in ("one", "two")
    )
    assert before == {text: after[text] for text in texts[100:]}


def test_the_same_sources_give_the_same_files(tmp_path: Path) -> None:
    source = _lines(tmp_path / "a.txt", [f"row {index}" for index in range(50)])
    for name in ("one", "two"):
        prepare([source], tmp_path / name, split={"validation": 0.2})
    for path in (tmp_path / "one").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_chats_with_tools_come_back(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": [1, None, "가"]}}}
    messages = [
        {"role": "user", "content": "안녕\x00하세요"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "{}"},
        {"role": "assistant", "content": "네."},
    ]
    records = [{"messages": messages, "tools": [{"name": "f"}]}, {"messages": [messages[0], messages[3]]}]
    found = prepare([_json_lines(tmp_path / "c.jsonl", records)], tmp_path / "out")
    assert found["rows"] == "chat"
    first, second = _all(tmp_path / "out")["train"]
    clean = [{"role": "user", "content": "안녕하세요"}, *messages[1:]]
    assert first["messages"] == clean
    assert first["tools"] == [{"type": "function", "function": {"name": "f"}}]
    assert second["messages"] == [clean[0], clean[3]] and second["tools"] is None
    assert found["splits"]["train"]["characters"]["total"] == (5 + 2 + 2) + (5 + 2)
    stored = pq.read_table(tmp_path / "out" / "train-00000.parquet")
    assert stored.schema.names == ["messages", "tools", "source", "id"]


def test_a_malformed_row_stops_with_its_place(tmp_path: Path) -> None:
    records = [{"question": "q", "answer": "a"}, {"question": "q", "answer": 3}]
    with pytest.raises(DataError) as caught:
        prepare([_json_lines(tmp_path / "c.jsonl", records)], tmp_path / "out")
    error = caught.value
    assert error.where == f"{tmp_path}/c.jsonl:2: answer"
    assert (error.value, error.expected) == ("3", "a string") and "on_error" in (error.hint or "")


def test_malformed_rows_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    good = {"question": "q", "answer": "a"}
    _json_lines(path, [good, {"question": "q", "answer": 3}])
    with path.open("ab") as file:
        file.write(
            b'\n{"question": broken\n{"question": "\xff", "answer": "a"}\n{"question": "r", "answer": "b"}\n'
        )
    heard = Heard()
    found = prepare([Source(str(path))], tmp_path / "out", on_error="skip", progress=heard)
    assert (found["read"], found["skipped"], splits(tmp_path / "out")) == (5, 3, {"train": 2})
    lines = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    wrong_type, not_json, not_unicode = (json.loads(line) for line in lines)
    assert (wrong_type["line"], wrong_type["field"], wrong_type["value"]) == (2, "answer", 3)
    assert wrong_type["row"] == {"question": "q", "answer": 3} and wrong_type["expected"] == "a string"
    assert (not_json["line"], not_json["field"]) == (3, "column 14") and "JSON" in not_json["reason"]
    assert not_unicode["line"] == 4 and "Unicode" in not_unicode["reason"]
    assert not_unicode["file"] == str(path)
    assert "3 malformed rows" in heard.notes[0]


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows to train on"):
        prepare([_lines(tmp_path / "a.txt", ["", " "])], tmp_path / "out")
    with pytest.raises(DataError, match="no rows to train on") as caught:
        prepare([_json_lines(tmp_path / "a.jsonl", [{"x": 1}])], tmp_path / "out", on_error="skip")
    assert "'skipped': 1" in (caught.value.value or "")


def test_kinds_and_names_must_agree(tmp_path: Path) -> None:
    text = _lines(tmp_path / "a.txt", ["text"])
    chat = _json_lines(tmp_path / "b.jsonl", [{"question": "q", "answer": "a"}])
    with pytest.raises(DataError, match="texts and chats"):
        prepare([text, chat], tmp_path / "out")
    with pytest.raises(ConfigError, match="one name"):
        prepare([text, text], tmp_path / "out2")
    with pytest.raises(ConfigError, match="without weight"):
        prepare([Source(text.path, weight=0)], tmp_path / "out3")


def test_weights_repeat_training_rows_only(tmp_path: Path) -> None:
    _lines(tmp_path / "a.txt", [f"a {index}" for index in range(200)])
    _lines(tmp_path / "b.txt", [f"b {index}" for index in range(200)])
    sources = [
        Source(str(tmp_path / "a.txt"), documents="line", weight=2.5),
        Source(str(tmp_path / "b.txt"), documents="line", weight=0.5),
    ]
    found = prepare(sources, tmp_path / "out", split={"validation": 0.2})
    rows = _all(tmp_path / "out")
    texts = [row["text"] for row in rows["validation"]]
    assert len(texts) == len(set(texts))
    trained = [row["text"] for row in rows["train"]]
    times = {text: trained.count(text) for text in trained}
    assert {times[text] for text in times if text.startswith("a")} == {2, 3}
    assert {times[text] for text in times if text.startswith("b")} == {1}
    of_a, of_b = found["sources"]["a.txt"], found["sources"]["b.txt"]
    assert of_a["repeated"] == of_a["rows"]["train"] - sum(text.startswith("a") for text in times)
    assert of_b["left_out"] == 200 - of_b["rows"]["train"] - of_b["rows"]["validation"] > 0
    assert len({row["id"] for row in rows["train"]}) == len(trained)


def test_options_are_honoured(tmp_path: Path) -> None:
    source = _lines(tmp_path / "a.txt", ["one  two", "one  two", "three"])
    found = prepare([source], tmp_path / "a", deduplicate="none", clean=Cleaning(whitespace="collapse"))
    assert [row["text"] for row in _all(tmp_path / "a")["train"]] == ["one two", "one two", "three"]
    assert found["duplicates"] == 0
    assert prepare([source], tmp_path / "b", limit=1)["read"] == 1
    bounded = Source(source.path, documents="line", max_characters=3)
    assert prepare([bounded], tmp_path / "c")["splits"]["train"]["rows"] == 1
    heard = Heard()
    prepare([source], tmp_path / "d", split={"test": 1e-9}, progress=heard)
    assert "test has no rows" in heard.notes[0]


def test_near_copies_are_dropped_from_held_out_rows(tmp_path: Path) -> None:
    base = [" ".join(f"w{row}x{at}" for at in range(30)) for row in range(100)]
    near = [f"{text} and a new end of {index}" for index, text in enumerate(base[:50])]
    source = _lines(tmp_path / "a.txt", base + near)
    plain = prepare([source], tmp_path / "plain", split={"validation": 0.2})
    heard = Heard()
    found = prepare([source], tmp_path / "out", split={"validation": 0.2}, decontaminate=True, progress=heard)
    rows = _all(tmp_path / "out")
    trained = {gram for row in rows["train"] for gram in _grams(row["text"])}
    for row in rows["validation"]:
        grams = _grams(row["text"])
        assert sum(gram in trained for gram in grams) < 0.5 * len(grams)
    before = plain["splits"]["validation"]["rows"]
    assert found["contaminated"] == before - len(rows["validation"]) > 0
    assert found["splits"]["validation"]["rows"] == len(rows["validation"])
    assert found["sources"]["a.txt"]["rows"] == {name: len(part) for name, part in rows.items()}
    assert rows["train"] == _all(tmp_path / "plain")["train"]
    assert f"{found['contaminated']} of {before} rows of validation" in heard.notes[0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "statistics.json",
        "train-00000.parquet",
        "validation-00000.parquet",
    ]


def _grams(text: str) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[at : at + 8]) for at in range(len(words) - 7)]


def test_large_splits_are_cut_into_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "GROUP_BYTES", 100)
    monkeypatch.setattr(shards, "SHARD_BYTES", 250)
    texts = [f"row number {index:03d}" for index in range(60)]
    prepare([_lines(tmp_path / "a.txt", texts)], tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))
    assert len(names) > 2 and names[0] == "train-00000.parquet"
    batches = list(read_rows(tmp_path / "out", "train", batch_rows=7))
    assert [row["text"] for batch in batches for row in batch] == texts
    assert max(map(len, batches)) <= 7
    assert splits(tmp_path / "out") == {"train": 60}


def test_reading_what_is_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not prepared data"):
        row_kind(tmp_path)
    prepare([_lines(tmp_path / "a.txt", ["text"])], tmp_path / "out")
    with pytest.raises(DataError, match="no such split") as caught:
        next(read_rows(tmp_path / "out", "validation"))
    assert caught.value.expected == "train"


@needs_real_data
def test_real_korean_text_and_chats(tmp_path: Path) -> None:
    text = Source(str(REAL / "pretrain-ko" / "*-docs-ko.txt.gz"))
    found = prepare([text], tmp_path / "text", split={"validation": 0.05})
    with gzip.open(REAL / "pretrain-ko" / "vue-docs-ko.txt.gz", "rt", encoding="utf-8") as file:
        characters = len(file.read())
    assert found["sources"]["pretrain-ko/*-docs-ko.txt.gz"]["files"] == 3
    assert found["splits"]["train"]["characters"]["total"] > 5 * characters
    chat = Source(str(REAL / "instruct" / "ko-chatbot.csv.gz"), columns={"question": "Q", "answer": "A"})
    found = prepare([chat], tmp_path / "chat", split={"validation": 0.05})
    assert (found["read"], found["skipped"], found["rows"]) == (11_823, 0, "chat")


@needs_real_data
@pytest.mark.parametrize(
    ("name", "rows", "row_format"),
    [
        ("rasbt-1100.json.gz", 1100, "alpaca"),
        ("gsm8k-train.jsonl.gz", 7473, "question-answer"),
        ("glaive-toolcall-300.json.gz", 300, "sharegpt"),
    ],
)
def test_real_chats_are_recognised(name: str, rows: int, row_format: str, tmp_path: Path) -> None:
    found = prepare([Source(str(REAL / "instruct" / name))], tmp_path, deduplicate="none")
    assert found["splits"]["train"]["rows"] == rows
    assert found["sources"][name]["row_formats"] == [row_format]
