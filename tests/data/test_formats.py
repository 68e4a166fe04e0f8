"""Every format of the registry gives back the records that another library wrote."""

import gzip
import io
import json
from pathlib import Path

import datasets
import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanji.contracts.errors import ConfigError, DataError
from hanji.data.formats import FILE_FORMATS, FORMAT_OF_SUFFIX
from hanji.data.formats.delimited import read_csv, read_tsv
from hanji.data.formats.json_lines import read_json, read_json_lines
from hanji.data.formats.text import PASSAGE_CHARACTERS, read_text
from hanji.data.records import Malformed, Record
from hanji.data.sources import Source, SourceReader

RECORDS = [
    {"question": "한지는 무엇인가?", "answer": 'A "sheet", of\tpaper'},
    {"question": "둘?", "answer": "a, b; c"},
]


def _written(name: str) -> bytes:
    """RECORDS (for text formats, their answers) in the format, written by a library other than ours."""
    frame, table, out = pd.DataFrame(RECORDS), pa.Table.from_pylist(RECORDS), io.BytesIO()
    if name in ("text", "markdown"):
        return "\n".join(record["answer"] for record in RECORDS).encode()
    if name == "json":
        return json.dumps(RECORDS, ensure_ascii=False, indent=2).encode()
    if name == "jsonl":
        return frame.to_json(orient="records", lines=True, force_ascii=False).encode()
    if name in ("csv", "tsv"):
        return frame.to_csv(index=False, sep="\t" if name == "tsv" else ",").encode()
    if name == "parquet":
        pq.write_table(table, out)
    elif name == "arrow":
        pyarrow.feather.write_feather(table, out, compression="lz4")
    else:
        raise AssertionError(f"no sample of the format {name}: add one here")
    return out.getvalue()


def _compressed(data: bytes, ending: str) -> bytes:
    if ending == ".zst":
        sink = pa.BufferOutputStream()
        stream = pa.CompressedOutputStream(sink, "zstd")
        stream.write(data)
        stream.close()
        return sink.getvalue().to_pybytes()
    return gzip.compress(data) if ending == ".gz" else data


def _values(source: Source) -> list:
    items = list(SourceReader(source).records())
    assert all(isinstance(item, Record) for item in items)
    return [item.value for item in items]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", [name for name in FILE_FORMATS if name != "tsv"])
def test_reads_what_another_library_wrote(name: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{FILE_FORMATS[name].suffixes[0]}{ending}"
    path.write_bytes(_compressed(_written(name), ending))
    text = "\n".join(record["answer"] for record in RECORDS)
    expected = [text] if name in ("text", "markdown") else RECORDS
    assert _values(Source(str(path))) == expected


def test_tsv_reads_quotes_as_text_except_around_a_whole_field() -> None:
    lines = b'id\tdocument\n1\t"so so" he said\n2\t"quoted ""well"""\n3\t"\n4\tplain\n'
    values = [item.value["document"] for item in read_tsv(io.BytesIO(lines), "f.tsv", "utf-8")]
    assert values == ['"so so" he said', 'quoted "well"', '"', "plain"]


@pytest.mark.parametrize(("name", "separator"), [("rows.csv", ","), ("rows.tsv", "\t")])
def test_columns_of_a_file_without_a_header_are_named(name: str, separator: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(f"ham{separator}안녕\nspam{separator}Win!\nham\n", encoding="utf-8")
    first, second, short = SourceReader(Source(str(path), header=["label", "text"])).records()
    assert isinstance(first, Record) and (first.value, first.line) == ({"label": "ham", "text": "안녕"}, 1)
    assert isinstance(second, Record) and second.value == {"label": "spam", "text": "Win!"}
    assert isinstance(short, Malformed) and short.problem.expected == "label, text" and short.line == 3
    with pytest.raises(ConfigError, match="two columns of one name"):
        SourceReader(Source(str(path), header=["text", "text"]))
    (tmp_path / "rows.jsonl").write_text("{}")
    with pytest.raises(ConfigError, match="`header`"):
        list(SourceReader(Source(str(tmp_path / "rows.jsonl"), header=["text"])).records())


def test_a_file_without_a_header_is_told_how_to_name_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("ham\tham\nspam\tWin!\n")
    with pytest.raises(DataError) as caught:
        list(SourceReader(Source(str(path))).records())
    assert "`header`" in (caught.value.hint or "")


def test_arrow_stream_is_read_like_an_arrow_file(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(RECORDS)
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert _values(Source(str(tmp_path / "a.arrow"))) == RECORDS


def test_saved_datasets_are_recognised_and_the_split_chosen(tmp_path: Path) -> None:
    one = datasets.Dataset.from_list(RECORDS)
    one.save_to_disk(str(tmp_path / "one"))
    assert _values(Source(str(tmp_path / "one"))) == RECORDS
    both = datasets.DatasetDict({"train": one, "extra": one.select([1])})
    both.save_to_disk(str(tmp_path / "both"))
    assert _values(Source(str(tmp_path / "both"))) == RECORDS
    assert _values(Source(str(tmp_path / "both"), split="extra")) == RECORDS[1:]
    with pytest.raises(DataError, match="train, extra"):
        _values(Source(str(tmp_path / "both"), split="validation"))


def test_hub_reader_streams_through_load_dataset(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(_written("jsonl"))
    assert _values(Source(str(tmp_path), format="hub")) == RECORDS
    with pytest.raises(DataError, match="cannot be loaded"):
        _values(Source(str(tmp_path / "absent"), format="hub"))


def test_directories_globs_and_archives(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.md").write_text("first")
    (tmp_path / "deep" / "c.txt").write_text("third")
    (tmp_path / ".hidden.txt").write_text("never")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    reader = SourceReader(Source(str(tmp_path)))
    assert [item.value for item in reader.records()] == ["first", "second", "third"]
    assert "image.png" in reader.notes[0]
    assert _values(Source(str(tmp_path / "*.txt"))) == ["second"]
    assert _values(Source(str(tmp_path / "**/*.txt"))) == ["second", "third"]
    import zipfile

    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("in/x.txt", "packed")
        archive.writestr("__MACOSX/in/x.txt", "never")
    assert _values(Source(str(tmp_path / "all.zip"))) == ["packed"]


def test_any_file_system_of_fsspec() -> None:
    with fsspec.open("memory://bucket/rows.jsonl.gz", "wb") as file:
        file.write(gzip.compress(_written("jsonl")))
    assert _values(Source("memory://bucket/rows.jsonl.gz")) == RECORDS
    assert _values(Source("memory://bucket/*.gz")) == RECORDS


def test_a_source_that_is_not_there_or_not_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        SourceReader(Source(str(tmp_path / "absent.txt")))
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match="no file here has an ending"):
        SourceReader(Source(str(tmp_path)))
    with pytest.raises(ConfigError, match="did you mean json"):
        SourceReader(Source(str(tmp_path), format="jsonn"))
    with pytest.raises(ConfigError, match="not a text file"):
        (tmp_path / "r.jsonl").write_text("{}")
        _values(Source(str(tmp_path / "r.jsonl"), documents="line"))
    with pytest.raises(ConfigError, match="no meaning"):
        SourceReader(Source(str(tmp_path / "r.jsonl"), split="train"))


def test_broken_files_name_themselves(tmp_path: Path) -> None:
    whole = gzip.compress(_written("jsonl") * 50)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "no.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "no.arrow").write_bytes(b"ARROW1 not really")
    for name in ("cut.jsonl.gz", "no.parquet", "no.arrow"):
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            list(SourceReader(Source(str(tmp_path / name))).records())


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ("file", [(1, "a\nb\n\n\nc\n")]),
        ("line", [(1, "a"), (2, "b"), (5, "c")]),
        ("paragraph", [(1, "a\nb"), (5, "c")]),
        ("passage", [(1, "a\nb\n\n\nc")]),
        ("auto", [(1, "a\nb\n\n\nc\n")]),
    ],
)
def test_documents_of_a_text_file(documents: str, expected: list[tuple[int, str]]) -> None:
    found = read_text(io.BytesIO(b"a\nb\n\n\nc\n"), "f.txt", "utf-8", documents)
    assert [(item.line, item.value) for item in found] == expected


def test_long_text_is_cut_into_passages_that_lose_nothing() -> None:
    lines = [f"line {index} of a long text without blank lines\n" for index in range(5000)]
    found = list(read_text(io.BytesIO("".join(lines).encode()), "f.txt", "utf-8", "auto"))
    assert "\n".join(item.value for item in found) == "".join(lines).strip()
    assert all(PASSAGE_CHARACTERS - 1 <= len(item.value) < PASSAGE_CHARACTERS + 60 for item in found[:-1])


def test_bytes_of_another_encoding_name_their_line() -> None:
    data = "좋아요\n나빠요\n".encode() + "완전".encode("cp949") + b"\n"
    good, also_good, bad = read_text(io.BytesIO(data), "f.txt", "utf-8", "line")
    assert [good.value, also_good.value] == ["좋아요", "나빠요"]
    assert isinstance(bad, Malformed) and (bad.file, bad.line) == ("f.txt", 3)
    assert "utf-8" in bad.problem.problem
    korean = list(read_text(io.BytesIO("완전\n".encode("cp949")), "f.txt", "cp949", "line"))
    assert korean[0].value == "완전"


JSON_VALUES = st.dictionaries(
    st.text(max_size=5), st.text() | st.integers() | st.lists(st.text()), max_size=3
)


@given(st.lists(JSON_VALUES, min_size=1, max_size=5), st.sampled_from([None, 0, 3]), st.booleans())
def test_any_array_of_json_objects_comes_back(
    records: list[dict], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(records, indent=indent, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:
        return  # a lone surrogate outside escapes is no text
    assert [item.value for item in read_json(io.BytesIO(text), "f", "utf-8")] == records


def test_json_is_read_piecewise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hanji.data.formats.json_lines._CHUNK_CHARACTERS", 7)
    records = [
        {"text": "x" * index, "n": index, "deep": {"list": [1, 2, {"y": None}]}} for index in range(40)
    ]
    found = list(read_json(io.BytesIO(json.dumps(records, indent=1).encode()), "f", "utf-8"))
    assert [item.value for item in found] == records
    # the lines on which the records begin, as an editor counts them
    assert [item.line for item in found[:3]] == [2, 15, 28]  # 13 lines each


def test_other_shapes_of_json_files() -> None:
    def read(text: str) -> list:
        return [item.value for item in read_json(io.BytesIO(text.encode()), "f", "utf-8")]

    assert read('{"version": 1, "data": [{"text": "a"}, {"text": "b"}]}') == [{"text": "a"}, {"text": "b"}]
    assert read('{"text": "a"}\n{"text": "b"}\n') == [{"text": "a"}, {"text": "b"}]
    assert len(read('{"messages": [{"role": "user", "content": "a"}]}')) == 1
    assert read("[]") == []
    for broken in ('[{"a": 1} {"a": 2}]', '[{"a": 1}', "", '{"a": '):
        with pytest.raises(DataError, match="f:1"):
            read(broken)


def test_json_lines_goes_on_after_a_broken_line() -> None:
    text = '{"text": "a"}\n{"text": oops}\n\n[1]\n{"text": "d"}\n'
    good, broken, array, last = read_json_lines(io.BytesIO(text.encode()), "f.jsonl", "utf-8")
    assert (good.value, last.value, last.line) == ({"text": "a"}, {"text": "d"}, 5)
    assert isinstance(broken, Malformed) and broken.line == 2 and broken.problem.field == "column 10"
    assert isinstance(array, Malformed) and array.line == 4


def test_csv_names_the_line_of_a_ragged_row() -> None:
    text = 'a,b\n1,"two\nlines"\nonly\n3,4\n'
    first, ragged, last = read_csv(io.BytesIO(text.encode()), "f.csv", "utf-8")
    assert first.value == {"a": "1", "b": "two\nlines"} and first.line == 2
    assert isinstance(ragged, Malformed) and ragged.line == 4
    assert last.value == {"a": "3", "b": "4"}
    with pytest.raises(DataError, match="name the columns"):
        list(read_csv(io.BytesIO(b"a,a\n1,2\n"), "f.csv", "utf-8"))


def test_no_ending_belongs_to_two_formats() -> None:
    assert len(FORMAT_OF_SUFFIX) == sum(len(found.suffixes) for found in FILE_FORMATS.values())
