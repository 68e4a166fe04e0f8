"""Labelled rows: what a label is, what is counted, and which rows belong together."""

from __future__ import annotations

import csv
import gzip
import json
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hanji.contracts.errors import ConfigError, DataError
from hanji.data import shards
from hanji.data.prepare import prepare
from hanji.data.prepared import labels, read_rows, row_kind, splits
from hanji.data.sources import Source
from hanji.recipes.fields import Source as SourceOfRecipe


class Heard:
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def advance(self, phase: str, done: float, total: float | None = None, **figures: float) -> None:
        pass

    def note(self, message: str) -> None:
        self.notes.append(message)


def written(path: Path, records: list[dict[str, Any]], **options: Any) -> Source:
    """A source of the records, as JSON Lines, CSV or Parquet."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, records[0].keys())
            writer.writeheader()
            writer.writerows(records)
    else:
        lines = (json.dumps(record, ensure_ascii=False) for record in records)
        path.write_text("\n".join(lines), encoding="utf-8")
    return Source(str(path), **options)


def labelled(path: Path, values: list[Any], column: str = "label", **options: Any) -> Source:
    """A source of as many texts as there are labels."""
    records = [{"text": f"text {index}", column: value} for index, value in enumerate(values)]
    return written(path, records, **options)


def rows_of(directory: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [row for batch in read_rows(directory, name) for row in batch] for name in splits(directory)
    }


def labels_of(directory: Path) -> list[Any]:
    return [row["label"] for row in rows_of(directory)["train"]]


def test_texts_and_labels_come_back_and_are_counted(tmp_path: Path) -> None:
    records = [
        {"text": f"리뷰 {index}", "label": ("좋음", "나쁨", "나쁨")[index % 3], "extra": 1}
        for index in range(300)
    ]
    found = prepare([written(tmp_path / "a.jsonl", records)], tmp_path / "out", split={"validation": 0.2})
    rows = rows_of(tmp_path / "out")
    assert row_kind(tmp_path / "out") == "labelled" and len(rows["validation"]) > 30
    back = {row["text"]: row for part in rows.values() for row in part}
    for record in records:
        row = back[record["text"]]
        assert (row["label"], row["text_pair"], row["source"]) == (record["label"], None, "a.jsonl")
    trained = [row["label"] for row in rows["train"]]
    expected = {"나쁨": trained.count("나쁨"), "좋음": trained.count("좋음")}
    assert labels(tmp_path / "out") == found["labels"] == {"kind": "classes", "counts": expected}
    assert list(found["labels"]["counts"]) == ["나쁨", "좋음"]
    assert found["sources"]["a.jsonl"]["row_formats"] == ["classification"]
    stored = pq.read_table(tmp_path / "out" / "train-00000.parquet")
    assert stored.schema.names == ["text", "text_pair", "label", "source", "id"]
    assert json.loads(stored["label"][0].as_py()) == trained[0]


@pytest.mark.parametrize(
    ("name", "values", "kind", "back"),
    [
        ("a.jsonl", [10, 2, 2], "classes", ["10", "2", "2"]),
        ("a.jsonl", [1, "good", True, "7", 2.0], "classes", ["1", "good", "true", "7", "2"]),
        ("a.parquet", [1.0, 0.0], "classes", ["1", "0"]),
        ("a.csv", ["01", "1", "-1"], "classes", ["01", "1", "-1"]),
        ("a.csv", ["3", "2.50", "1e2"], "number", [3.0, 2.5, 100.0]),
        ("a.jsonl", [3, 2.5, "4"], "number", [3.0, 2.5, 4.0]),
        ("a.jsonl", [["b", "a", "b"], [], [10, 9]], "several", [["a", "b"], [], ["9", "10"]]),
        ("a.csv", ['["b"]', '["a", "b"]'], "several", [["b"], ["a", "b"]]),
        ("a.jsonl", ["nan", "1_000", "١"], "classes", ["nan", "1_000", "١"]),
    ],
)
def test_what_labels_are_by_what_they_look_like(
    name: str, values: list[Any], kind: str, back: list[Any], tmp_path: Path
) -> None:
    records = [{"text": f"text {index}", "label": value} for index, value in enumerate(values)]
    prepare([written(tmp_path / name, records)], tmp_path / "out")
    assert labels(tmp_path / "out")["kind"] == kind
    assert labels_of(tmp_path / "out") == back
    assert [type(label) for label in labels_of(tmp_path / "out")] == [type(label) for label in back]


@pytest.mark.parametrize(
    ("option", "values", "back"),
    [
        ("classes", ["3.5", 4, "a", "[x]"], ["3.5", "4", "a", "[x]"]),
        ("number", ["3", 4, 0.5], [3.0, 4.0, 0.5]),
        ("several", ["a", ["b", "a"], 3], [["a"], ["a", "b"], ["3"]]),
    ],
)
def test_what_labels_are_by_the_source(
    option: str, values: list[Any], back: list[Any], tmp_path: Path
) -> None:
    prepare([labelled(tmp_path / "a.jsonl", values, labels=option)], tmp_path / "out")
    assert labels(tmp_path / "out")["kind"] == option
    assert labels_of(tmp_path / "out") == back


def test_a_fraction_anywhere_makes_numbers_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "GROUP_BYTES", 40)
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    values = [index % 6 for index in range(80)]
    whole = labelled(tmp_path / "a.jsonl", values)
    late = written(tmp_path / "b.jsonl", [{"text": "the last", "label": 2.25}])
    prepare([whole], tmp_path / "whole", split={"validation": 0.2})
    prepare([whole, late], tmp_path / "out", split={"validation": 0.2})
    before, after = rows_of(tmp_path / "whole"), rows_of(tmp_path / "out")
    assert len(list((tmp_path / "out").glob("train-*.parquet"))) > 2
    for name in ("train", "validation"):
        ours = [row for row in after[name] if row["source"] == "a.jsonl"]
        assert [row | {"label": float(row["label"])} for row in before[name]] == ours  # ids too
        assert {type(row["label"]) for row in after[name]} == {float}
    numbers = [row["label"] for row in after["train"]]
    assert labels(tmp_path / "out") == {
        "kind": "number",
        "minimum": 0.0,
        "maximum": 5.0,
        "mean": pytest.approx(sum(numbers) / len(numbers)),
    }
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".parquet"}


@pytest.mark.parametrize(
    ("values", "line", "problem"),
    [
        (["a", 0.5], 2, "names and numbers"),
        ([0.5, 1, "a"], 3, "numbers and names"),
        ([1, ["a"]], 2, "whole numbers and lists"),
        ([["a"], 1], 2, "lists of names and whole numbers"),
        ([["a"], "a"], 2, "lists of names and names"),
    ],
)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_labels_of_different_kinds_are_refused(
    values: list[Any], line: int, problem: str, on_error: Any, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        prepare([labelled(tmp_path / "a.jsonl", values)], tmp_path / "out", on_error=on_error)
    assert caught.value.where == f"{tmp_path}/a.jsonl:{line}"
    assert "`labels: classes`" in (caught.value.hint or "")


def test_sources_of_different_kinds_of_labels_are_refused(tmp_path: Path) -> None:
    classes = labelled(tmp_path / "a.jsonl", [1, 2], labels="classes")
    numbers = labelled(tmp_path / "b.jsonl", [1, 2], labels="number")
    with pytest.raises(DataError, match="names and numbers"):
        prepare([classes, numbers], tmp_path / "out")


@pytest.mark.parametrize(
    ("value", "options", "problem"),
    [
        (None, {}, "no label"),
        ("", {}, "no label"),
        (" - ", {}, "no label"),
        (float("nan"), {}, "no label"),
        (["a", None], {}, "no label"),
        ({"name": "a"}, {}, "this is no label"),
        ("['a']", {}, "not JSON"),
        ("a", {"labels": "number"}, "not a number"),
        (True, {"labels": "number"}, "not a number"),
        (["a"], {"labels": "classes"}, "one label"),
        ("-", {"labels": "several"}, "no label"),
    ],
)
def test_a_malformed_label_names_its_place_and_can_be_skipped(
    value: Any, options: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    records = [{"document": "a", "gold_label": 1}, {"document": "b", "gold_label": value}]
    source = written(tmp_path / "a.jsonl", records, **options)
    with pytest.raises(DataError, match=problem) as caught:
        prepare([source], tmp_path / "out")
    assert (caught.value.where or "").startswith(f"{tmp_path}/a.jsonl:2: gold_label")
    assert caught.value.expected
    found = prepare([source], tmp_path / "skip", on_error="skip")
    assert (found["skipped"], splits(tmp_path / "skip")) == (1, {"train": 1})
    entry = json.loads((tmp_path / "skip" / "skipped.jsonl").read_text())
    assert entry["line"] == 2 and problem in entry["reason"] and entry["row"]["document"] == "b"
    assert "label" not in entry["row"], "the record is told as it stood in the file"


def test_classes_are_renamed_and_names_that_are_not_met_are_told(tmp_path: Path) -> None:
    given = SourceOfRecipe.model_validate({"path": "x", "label_names": {"0": "나쁨", "1": "좋음", "7": "?"}})
    heard = Heard()
    source = labelled(tmp_path / "a.jsonl", [0, 1, 1, 2], label_names=given.label_names)
    prepare([source], tmp_path / "out", progress=heard)
    assert labels_of(tmp_path / "out") == ["나쁨", "좋음", "좋음", "2"]
    assert heard.notes == ["a.jsonl: no row has what `label_names` renames: 7."]
    several = labelled(tmp_path / "b.jsonl", [[0, 1], [1]], label_names={"1": "좋음"})
    prepare([several], tmp_path / "several")
    assert labels_of(tmp_path / "several") == [["0", "좋음"], ["좋음"]]


def test_a_class_is_one_however_it_is_written(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "긍정")
    prepare([labelled(tmp_path / "a.jsonl", ["긍정", apart, " 긍정\n"])], tmp_path / "out")
    assert labels(tmp_path / "out")["counts"] == {"긍정": 3}


def test_a_class_that_only_held_out_rows_have_is_told(tmp_path: Path) -> None:
    texts = [f"text {index}" for index in range(60)]
    shares = {"validation": 0.3}
    prepare([labelled(tmp_path / "a.jsonl", ["x"] * 60)], tmp_path / "plain", split=shares)
    held_out = {row["text"] for row in rows_of(tmp_path / "plain")["validation"]}
    records = [{"text": text, "label": "rare" if text in held_out else "often"} for text in texts]
    heard = Heard()
    prepare([written(tmp_path / "b.jsonl", records)], tmp_path / "out", split=shares, progress=heard)
    assert labels(tmp_path / "out")["counts"] == {"often": 60 - len(held_out), "rare": 0}
    assert heard.notes == ["No training row has these labels, only held-out rows do: rare."]


def test_names_are_in_the_order_of_numbers_where_all_are(tmp_path: Path) -> None:
    prepare([labelled(tmp_path / "a.jsonl", [10, 9, -1, 9])], tmp_path / "numbers")
    assert list(labels(tmp_path / "numbers")["counts"].items()) == [("-1", 1), ("9", 2), ("10", 1)]
    prepare([labelled(tmp_path / "b.jsonl", [10, 9, "b", "a"])], tmp_path / "names")
    assert list(labels(tmp_path / "names")["counts"]) == ["10", "9", "a", "b"]


@pytest.mark.parametrize(
    ("record", "row_format", "texts", "label"),
    [
        ({"text": "t", "label": 1}, "classification", ("t", None), "1"),
        ({"id": "7", "document": "t", "label": "1"}, "classification", ("t", None), "1"),
        ({"idx": 0, "sentence": "t", "label": 1}, "classification", ("t", None), "1"),
        ({"text": "t", "labels": ["a"]}, "classification", ("t", None), ["a"]),
        ({"sentence": "t", "gold_label": "a"}, "classification", ("t", None), "a"),
        ({"text": "t", "text_pair": "p", "label": "a"}, "pair-classification", ("t", "p"), "a"),
        ({"sentence1": "t", "sentence2": "p", "label": 0}, "pair-classification", ("t", "p"), "0"),
        ({"premise": "t", "hypothesis": "p", "label": 0}, "pair-classification", ("t", "p"), "0"),
        ({"question1": "t", "question2": "p", "label": 0}, "pair-classification", ("t", "p"), "0"),
        ({"sentence1": "t", "sentence2": "p", "gold_label": "a"}, "pair-classification", ("t", "p"), "a"),
        ({"sentence1": "t", "sentence2": "p", "score": "5.000"}, "pair-classification", ("t", "p"), 5.0),
        ({"text": "t", "sentence1": "a", "sentence2": "b", "label": 1}, "classification", ("t", None), "1"),
    ],
)
def test_columns_are_recognised_by_their_usual_names(
    record: dict[str, Any], row_format: str, texts: tuple[str, str | None], label: Any, tmp_path: Path
) -> None:
    found = prepare([written(tmp_path / "a.jsonl", [record])], tmp_path / "out")
    assert found["sources"]["a.jsonl"]["row_formats"] == [row_format]
    (row,) = rows_of(tmp_path / "out")["train"]
    assert ((row["text"], row["text_pair"]), row["label"]) == (texts, label)
    said = prepare([written(tmp_path / "b.jsonl", [record], rows=row_format)], tmp_path / "said")
    assert said["labels"] == found["labels"]


@pytest.mark.parametrize(
    "record",
    [
        {"document": "a", "sentence": "b", "label": 1},
        {"document": "a", "gold_label": 1, "labels": [1]},
        {"sentence1": "a", "sentence2": "b", "premise": "c", "hypothesis": "d", "label": 1},
        {"document": "a", "score": 1},
    ],
)
def test_columns_that_could_be_several_things_are_not_guessed(record: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no format that is known") as caught:
        prepare([written(tmp_path / "a.jsonl", [record])], tmp_path / "out")
    assert "pair-classification: text + text_pair + label" in (caught.value.expected or "")


def test_what_is_mapped_by_name_decides(tmp_path: Path) -> None:
    record = {"review": "좋다", "title": "영화", "stars": 5, "text": "other", "label": "other"}
    columns = {"text": "title", "text_pair": "review", "label": "stars"}
    prepare([written(tmp_path / "a.jsonl", [record], columns=columns)], tmp_path / "pair")
    (row,) = rows_of(tmp_path / "pair")["train"]
    assert (row["text"], row["text_pair"], row["label"]) == ("영화", "좋다", "5")
    for name, options in {
        "text": {"rows": "text"},
        "mapped": {"columns": {"text": "review"}},
        "column": {"text_column": "review"},
    }.items():
        prepare([written(tmp_path / f"{name}.jsonl", [record], **options)], tmp_path / name)
        assert row_kind(tmp_path / name) == "text"
    prepare([written(tmp_path / "b.jsonl", [record], text_column="review", labels="classes")], tmp_path / "b")
    assert labels_of(tmp_path / "b") == ["other"]
    scores = [{"text": "t", "Score": 3}, {"text": "u", "Score": 4}]
    prepare([written(tmp_path / "c.jsonl", scores, columns={"label": "Score"})], tmp_path / "c")
    assert labels(tmp_path / "c")["kind"] == "classes"


def test_each_row_must_have_what_the_first_had(tmp_path: Path) -> None:
    records = [{"document": "a", "gold_label": "x"}, {"document": "b"}, {"gold_label": "x"}]
    found = prepare([written(tmp_path / "a.jsonl", records)], tmp_path / "out", on_error="skip")
    assert found["skipped"] == 2
    reasons = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [reason["field"] for reason in reasons] == ["label", "text"]
    late = [{"document": "b"}, {"document": "a", "gold_label": "x"}]
    for rows in ("auto", "classification"):
        source = written(tmp_path / f"{rows}.jsonl", late, rows=rows)
        assert prepare([source], tmp_path / rows, on_error="skip")["skipped"] == 1


def test_files_with_one_label_each(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("좋은 영화\n최고\n")
    (tmp_path / "bad.txt").write_text("지루하다\n\n")
    sources = [
        Source(str(tmp_path / "good.txt"), documents="line", label="positive"),
        Source(str(tmp_path / "bad.txt"), documents="line", label="negative", rows="text"),
    ]
    found = prepare(sources, tmp_path / "out")
    assert found["labels"] == {"kind": "classes", "counts": {"negative": 1, "positive": 2}}
    number = SourceOfRecipe.model_validate({"path": str(tmp_path / "good.txt"), "label": 0.5}).label
    prepare([Source(str(tmp_path / "good.txt"), documents="line", label=number)], tmp_path / "number")
    assert labels_of(tmp_path / "number") == [0.5, 0.5]
    instead = labelled(tmp_path / "a.jsonl", ["x"], label="y")
    prepare([instead], tmp_path / "instead")
    assert labels_of(tmp_path / "instead") == ["y"]


def test_members_of_an_archive_with_one_label_each(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        archive.writestr("set/rows.pos", "good\nfine\n")
        archive.writestr("set/rows.neg", "bad\n")
        archive.writestr("set/README.txt", "about the set\n")
    sources = [
        Source(f"zip://set/rows.{ending}::{tmp_path}/both.zip", "text", documents="line", label=ending)
        for ending in ("pos", "neg")
    ]
    assert [source.title for source in sources] == ["rows.pos", "rows.neg"]
    assert prepare(sources, tmp_path / "out")["labels"]["counts"] == {"neg": 1, "pos": 2}


def test_equal_texts_never_stand_in_two_splits(tmp_path: Path) -> None:
    shares = {"validation": 0.3, "test": 0.2}
    texts = [f"text {index}" for index in range(120)]
    single = [{"text": text, "label": label} for text in texts for label in ("a", "b")]
    pairs = [{"premise": text, "hypothesis": f"{n} {text}", "label": n} for text in texts for n in range(3)]
    for name, records in {"single": single, "pairs": pairs}.items():
        found = prepare([written(tmp_path / f"{name}.jsonl", records)], tmp_path / name, split=shares)
        assert found["duplicates"] == 0
        rows = rows_of(tmp_path / name)
        places = [{row["text"] for row in part} for part in rows.values()]
        assert len(places) == 3 and sum(map(len, places)) == 120
    plain = written(tmp_path / "plain.jsonl", single, rows="text")
    prepare([plain], tmp_path / "plain", split=shares)
    for name, part in rows_of(tmp_path / "plain").items():
        assert {row["text"] for row in part} == {row["text"] for row in rows_of(tmp_path / "single")[name]}


def test_copies_weights_and_empty_texts(tmp_path: Path) -> None:
    records = [
        {"text": "t", "label": 1},
        {"text": "t\x00", "label": "1"},
        {"text": "t", "label": 2},
        {"text": " ", "label": 1},
    ]
    found = prepare([written(tmp_path / "a.jsonl", records, weight=3)], tmp_path / "out")
    assert (found["duplicates"], found["empty"], found["repeated"]) == (1, 1, 4)
    assert found["labels"]["counts"] == {"1": 3, "2": 3}
    pair = [{"text": "t", "text_pair": other, "label": 1} for other in ("가", "나", "가", "")]
    found = prepare([written(tmp_path / "b.jsonl", pair)], tmp_path / "pair")
    assert (found["duplicates"], found["empty"]) == (1, 1)
    assert found["splits"]["train"]["characters"]["total"] == 2 * (1 + 1)
    assert found["splits"]["train"]["bytes"]["total"] == 2 * (1 + 3)


def test_near_copies_are_dropped_and_no_longer_counted(tmp_path: Path) -> None:
    base = [" ".join(f"w{row}x{at}" for at in range(30)) for row in range(100)]
    near = [f"{text} and a new end of {index}" for index, text in enumerate(base[:50])]
    records = [{"text": text, "text_pair": "short", "label": text.split()[-1]} for text in base + near]
    source = written(tmp_path / "a.jsonl", records)
    shares = {"validation": 0.2}
    prepare([source], tmp_path / "plain", split=shares)
    found = prepare([source], tmp_path / "out", split=shares, decontaminate=True)
    before, after = rows_of(tmp_path / "plain"), rows_of(tmp_path / "out")
    trained = {row["text"].split()[0] for row in after["train"]}
    kept = [row for row in before["validation"] if row["text"].split()[0] not in trained]
    assert after["validation"] == kept and after["train"] == before["train"]
    assert found["contaminated"] == len(before["validation"]) - len(kept) > 0
    size = sum(len(row["text"]) + len("short") for row in kept)
    assert found["splits"]["validation"]["characters"]["total"] == size
    classes = {row["label"] for part in after.values() for row in part}
    assert set(labels(tmp_path / "out")["counts"]) == classes
    assert set(labels(tmp_path / "plain")["counts"]) > classes


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rows": "messages", "labels": "classes"}, "labels for rows that have none"),
        ({"rows": "text", "label_names": {"a": "b"}}, "labels for rows that have none"),
        ({"labels": "number", "label_names": {"1": "b"}}, "numbers have no names"),
        ({"label": "-"}, "no label"),
        ({"label": "good", "labels": "number"}, "not a number"),
        ({"columns": {"lable": "x"}}, "no such name"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=problem):
        prepare([labelled(tmp_path / "a.jsonl", ["a"], **options)], tmp_path / "out")


def test_rows_without_labels_are_refused_where_labels_are_described(tmp_path: Path) -> None:
    source = written(tmp_path / "a.jsonl", [{"question": "q", "answer": "a"}], labels="classes")
    with pytest.raises(DataError, match="no format that is known") as caught:
        prepare([source], tmp_path / "out")
    assert "question" not in (caught.value.expected or "").partition("; or say")[0]


def test_labelled_rows_stand_alone(tmp_path: Path) -> None:
    source = labelled(tmp_path / "a.jsonl", ["a"])
    chat = written(tmp_path / "b.jsonl", [{"question": "q", "answer": "a"}])
    with pytest.raises(DataError, match="labelled rows and chats cannot be prepared together"):
        prepare([source, chat], tmp_path / "out")
    prepare([chat], tmp_path / "chats")
    with pytest.raises(DataError, match="have no labels") as caught:
        labels(tmp_path / "chats")
    assert caught.value.value == "'chat'"


def test_real_korean_reviews_are_classes(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "classify" / "nsmc-train.tsv.gz"
    names = {"0": "부정", "1": "긍정"}
    found = prepare([Source(str(path), label_names=names)], tmp_path, limit=3000, deduplicate="none")
    expected = pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, nrows=3000)["label"].value_counts()
    assert found["labels"] == {"kind": "classes", "counts": {"긍정": expected[1], "부정": expected[0]}}


def test_real_messages_without_a_header(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "classify" / "sms-spam.tsv.gz"
    source = Source(str(path), header=["label", "text"])
    found = prepare([source], tmp_path, deduplicate="none", limit=2000)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        words = [next(file).split("\t")[0] for _ in range(2000)]
    assert found["labels"]["counts"] == {"ham": words.count("ham"), "spam": words.count("spam")}


def test_real_korean_sentence_pairs_have_scores(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "pairs" / "korsts-train.tsv.gz"
    found = prepare([Source(str(path))], tmp_path, deduplicate="none", limit=1500)
    table = pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, nrows=1500)
    assert found["labels"] == {
        "kind": "number",
        "minimum": table["score"].min(),
        "maximum": table["score"].max(),
        "mean": pytest.approx(table["score"].mean()),
    }
    for row, (_, expected) in zip(rows_of(tmp_path)["train"], table.iterrows(), strict=True):
        assert row["label"] == expected["score"]
        assert row["text_pair"] == unicodedata.normalize("NFC", expected["sentence2"])


def test_real_korean_inference_keeps_premises_together(shared_data: Path, tmp_path: Path) -> None:
    source = Source(str(shared_data / "pairs" / "xnli.dev.ko.tsv.gz"))
    found = prepare([source], tmp_path, split={"validation": 0.1}, decontaminate=True)
    rows = rows_of(tmp_path)
    assert list(found["labels"]["counts"]) == ["contradiction", "entailment", "neutral"]
    assert not {row["text"] for row in rows["train"]} & {row["text"] for row in rows["validation"]}
    assert found["contaminated"] < 0.05 * len(rows["validation"])


def test_real_archive_of_two_classes(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "classify" / "sentence_polarity.zip"
    sources = [
        Source(
            f"zip://*/*.{ending}::{path}",
            "text",
            documents="line",
            encoding="latin-1",
            label=label,
        )
        for ending, label in (("pos", "positive"), ("neg", "negative"))
    ]
    found = prepare(sources, tmp_path, deduplicate="none", limit=500)
    assert found["labels"]["counts"] == {"negative": 500, "positive": 500}
