"""The token store: what goes in comes out, and a damaged one is never read as a good one."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hanji.contracts.errors import ArtifactError, DataError, ResourceError
from hanji.contracts.rows import TokenRows
from hanji.data import token_file
from hanji.data.token_store import TokenStore, build_token_store


class Notes:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done: list[tuple[float, float | None]] = []

    def advance(self, phase: str, done: float, total: float | None = None, **figures: float) -> None:
        self.done.append((done, total))

    def note(self, message: str) -> None:
        self.notes.append(message)


def encode(rows: list[dict[str, Any]]) -> TokenRows:
    """A row's text as its characters' codes; capitals are not trained."""
    text = "".join(row["text"] for row in rows)
    return TokenRows(
        np.array([ord(character) for character in text], np.int32),
        np.array([len(row["text"]) for row in rows], np.int64),
        np.array([not character.isupper() for character in text], np.bool_),
        np.array([len(row["text"].encode()) for row in rows], np.int64),
    )


def build(texts: list[str], directory: Path, **options: Any) -> TokenStore:
    batches = ([{"text": text} for text in texts[start : start + 3]] for start in range(0, len(texts), 3))
    settings = {"sequence_length": 100, "overlong": "error"} | options
    return build_token_store(batches, encode, directory, **settings)


def texts_of(rows: TokenRows) -> list[str]:
    """As `encode` took them, with what is not trained in capitals."""
    marked = [
        chr(token) if trained else chr(token).upper()
        for token, trained in zip(rows.ids, rows.trained, strict=True)
    ]
    return ["".join(part) for part in np.split(np.array(marked), rows.offsets[1:-1])]


TEXTS = ["abc", "HELLO there", "Aa", "What? because", "plain text", "Zz", "MIXED up Again and again", "x y"]
STORED = [text[0].upper() + text[1:] for text in TEXTS]


@pytest.fixture(params=[1, 20, 2**20], ids=["batch-a-row", "batch-some", "batch-all"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenStore:
    monkeypatch.setattr(token_file, "_BATCH_TOKENS", request.param)
    return build(TEXTS, tmp_path / "store")


@pytest.mark.parametrize("indices", [range(8), [3], [6, 1, 6, 0], [4, 5, 2], []])
def test_take_gives_back_what_was_encoded(store: TokenStore, indices: list[int]) -> None:
    taken = store.take(np.array(indices, np.int64))
    expected = [STORED[index] for index in indices]
    assert len(taken) == len(expected)
    assert "".join(texts_of(taken)) == "".join(expected)
    assert taken.lengths.tolist() == [len(text) for text in expected]
    assert taken.text_bytes.tolist() == [len(text) for text in expected]
    assert (taken.ids.dtype, taken.trained.dtype) == (np.int32, np.bool_)


def test_it_is_an_arrow_file_that_others_read(store: TokenStore) -> None:
    with pa.memory_map(str(store.directory / "tokens.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    assert ["".join(map(chr, ids)) for ids in table["ids"].to_pylist()] == TEXTS
    masks = table["trained"].to_pylist()
    assert masks[0] is None  # plain text: nothing to say
    assert masks[1] == [False] * 5 + [True] * 6
    table.validate(full=True)


def test_statistics(store: TokenStore) -> None:
    statistics = store.statistics
    assert statistics == json.loads((store.directory / "statistics.json").read_text())
    lengths = [len(text) for text in TEXTS]
    assert (statistics["rows"], statistics["tokens"], statistics["text_bytes"]) == (
        8,
        sum(lengths),
        sum(lengths),
    )
    assert statistics["trained_tokens"] == sum(not letter.isupper() for text in STORED for letter in text)
    described = statistics["lengths"]
    assert (described["shortest"], described["longest"]) == (2, 24)
    assert described["mean"] == pytest.approx(np.mean(lengths))
    assert described["median"] == np.sort(lengths)[3]
    width = described["histogram"]["bar_tokens"]
    edges = np.arange(0, (len(described["histogram"]["rows"]) + 1) * width, width)
    assert described["histogram"]["rows"] == np.histogram(lengths, edges)[0].tolist()
    data = (store.directory / "tokens.arrow").read_bytes()
    assert statistics["data"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert statistics["data"]["bytes"] == len(data)
    assert (statistics["sequence_length"], statistics["overlong"]) == (100, "error")
    assert statistics["source"]["given"] == 8
    store.verify()


def test_it_reads_from_the_map_without_a_copy(store: TokenStore) -> None:
    assert not store._words.flags.owndata and not store._words.flags.writeable


@pytest.mark.parametrize(
    ("overlong", "note", "rows"),
    [
        ("drop", "2 of 5 rows are longer than 4 tokens: 2 were dropped; 17 tokens are lost", 1),
        ("split", "2 of 5 rows are longer than 4 tokens: 2 were split into 6 pieces", 7),
        (
            "truncate",
            "2 of 5 rows are longer than 4 tokens: 2 were truncated, 2 of them in the middle of what is "
            "learned; 9 tokens are lost",
            3,
        ),
    ],
)
def test_overlong_rows_are_told(tmp_path: Path, overlong: str, note: str, rows: int) -> None:
    notes = Notes()
    texts = ["ab", "Nine long", "ABC", "D", "Evenlong"]
    store = build(texts, tmp_path / "s", overlong=overlong, sequence_length=4, progress=notes, total_rows=5)
    assert notes.notes == [note, "2 rows without a token to learn were dropped"]
    assert len(store) == rows
    assert store.statistics["source"]["overlong"] == 2
    assert notes.done == [(3, 5), (5, 5)]


def test_an_overlong_row_is_named(tmp_path: Path) -> None:
    rows = [{"text": "abc"}, {"text": "UP"}, {"text": "a" * 9, "source": "notes.jsonl", "id": "17"}]
    with pytest.raises(DataError) as caught:
        build_token_store(iter([rows]), encode, tmp_path / "s", sequence_length=8, overlong="error")
    assert caught.value.where == "notes.jsonl: 17: row 3"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("texts", [[], ["", "A", "UPPER"]])
def test_a_store_of_nothing_is_refused(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(DataError, match="no row is left"):
        build(texts, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_build_leaves_the_store_before_it(tmp_path: Path) -> None:
    build(["abc"], tmp_path / "s")

    def batches() -> Iterator[list[dict[str, Any]]]:
        yield [{"text": "other"}]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_token_store(batches(), encode, tmp_path / "s", sequence_length=8, overlong="drop")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert texts_of(TokenStore.open(tmp_path / "s").take(np.array([0]))) == ["Abc"]


def test_a_store_is_replaced_while_it_is_read(tmp_path: Path) -> None:
    old = build(["abc"], tmp_path / "s")
    new = build(["xyz", "uvw"], tmp_path / "s")
    assert texts_of(old.take(np.array([0]))) == ["Abc"]
    assert texts_of(new.take(np.array([1]))) == ["Uvw"]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_an_equal_store_stays_in_its_place(tmp_path: Path) -> None:
    """Ranks may make the same store at once: whoever is later leaves the one that is perhaps in use."""
    first = (build(TEXTS, tmp_path / "s").directory / "tokens.arrow").stat().st_ino
    assert (build(TEXTS, tmp_path / "s").directory / "tokens.arrow").stat().st_ino == first
    (tmp_path / "s" / "tokens.arrow").write_bytes(b"damaged")
    assert texts_of(build(TEXTS, tmp_path / "s").take(np.array([0]))) == ["Abc"]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_stores_made_at_the_same_place_at_once(tmp_path: Path) -> None:
    """Different contents, the worst case: one of them stands in the end, whole."""
    with ThreadPoolExecutor(8) as threads:
        made = [threads.submit(build, [f"text {n}"] * (n + 1), tmp_path / "s") for n in range(32)]
    sizes = {future.result().statistics["rows"] for future in made if future.exception() is None}
    assert len(TokenStore.open(tmp_path / "s")) in sizes
    assert all(isinstance(future.exception(), ArtifactError | None) for future in made)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(token_file.TokenFileWriter, "write", full)
    with pytest.raises(ResourceError, match="disk is full"):
        build(["abc"], tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no token store"):
        TokenStore.open(tmp_path / "nowhere")
    build(["abc"], tmp_path / "s")
    (tmp_path / "s" / "tokens.arrow").unlink()
    with pytest.raises(ArtifactError, match="no token store"):
        TokenStore.open(tmp_path / "s")


def _cut_short(data: bytes) -> bytes:
    return data[:-100]


def _without_footer(data: bytes) -> bytes:
    return data[:-200] + bytes(200)


def _of_zeros(data: bytes) -> bytes:
    return bytes(len(data))


@pytest.mark.parametrize("damage", [_cut_short, _without_footer, _of_zeros])
def test_a_damaged_file_is_not_opened(tmp_path: Path, damage: Any) -> None:
    path = build(TEXTS, tmp_path / "s").directory / "tokens.arrow"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtifactError, match="damaged"):
        TokenStore.open(tmp_path / "s")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"data": {"bytes": "many"}, "rows": 1}'])
def test_damaged_statistics_are_said(tmp_path: Path, text: str) -> None:
    build(TEXTS, tmp_path / "s")
    (tmp_path / "s" / "statistics.json").write_text(text)
    with pytest.raises(ArtifactError, match="damaged"):
        TokenStore.open(tmp_path / "s")


def test_another_table_is_not_a_token_store(tmp_path: Path) -> None:
    build(TEXTS, tmp_path / "s")
    path = tmp_path / "s" / "tokens.arrow"
    table = pa.table({"text": ["a"]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    statistics = json.loads((tmp_path / "s" / "statistics.json").read_text())
    statistics["data"]["bytes"] = path.stat().st_size
    (tmp_path / "s" / "statistics.json").write_text(json.dumps(statistics))
    with pytest.raises(ArtifactError, match="columns"):
        TokenStore.open(tmp_path / "s")


def test_any_damaged_byte_is_an_error_or_fails_the_checksum(tmp_path: Path) -> None:
    path = build(TEXTS, tmp_path / "s").directory / "tokens.arrow"
    good = path.read_bytes()
    for position in range(0, len(good), 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :])
        with pytest.raises(ArtifactError):
            TokenStore.open(tmp_path / "s").verify()
    path.write_bytes(good)
    TokenStore.open(tmp_path / "s").verify()


def test_many_random_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_file, "_BATCH_TOKENS", 5000)
    random = np.random.default_rng(0)
    batches = []
    for _ in range(20):
        lengths = random.integers(2, 60, 50)
        trained = (random.random(lengths.sum()) < 0.3) | np.repeat(random.random(50) < 0.5, lengths)
        starts = np.cumsum(lengths) - lengths
        trained[starts], trained[starts + 1] = False, True
        ids = random.integers(0, 2**31 - 1, lengths.sum(), dtype=np.int32)
        batches.append(TokenRows(ids, lengths, trained, random.integers(0, 999, 50)))
    encoded = iter(batches)
    store = build_token_store(
        iter([[{}] * 50] * 20),
        lambda rows: next(encoded),
        tmp_path / "s",
        sequence_length=60,
        overlong="error",
    )
    indices = random.integers(0, 1000, 3000)
    taken, expected = store.take(indices), TokenRows.concatenate(batches).take(indices)
    for name in ("ids", "lengths", "trained", "text_bytes"):
        assert (getattr(taken, name) == getattr(expected, name)).all(), name


@pytest.mark.parametrize("tokens", [1, 200, 2**20])
def test_borders_and_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    monkeypatch.setattr(token_file, "_BATCH_TOKENS", tokens)
    random = np.random.default_rng(0)
    batches = []
    for _ in range(5):
        lengths = random.integers(2, 20, 30)
        tokens_of = int(lengths.sum())
        batches.append(
            TokenRows(
                random.integers(0, 99, tokens_of, dtype=np.int32), lengths, np.zeros(tokens_of, np.bool_),
                np.zeros(30, np.int64), random.integers(0, 2, 30) * (lengths - 1),
                random.normal(size=(30, 3)),
            )
        )  # fmt: skip
    encoded = iter(batches)
    store = build_token_store(
        iter([[{}] * 30] * 5), lambda _: next(encoded), tmp_path / "s", sequence_length=20, overlong="error"
    )
    assert store.statistics["trained_tokens"] == 0
    indices = random.integers(0, 150, 400)
    taken, expected = store.take(indices), TokenRows.concatenate(batches).take(indices)
    for name in ("ids", "lengths", "trained", "borders", "targets"):
        assert np.array_equal(getattr(taken, name), getattr(expected, name)), name
    assert taken.targets is not None and taken.targets.dtype == np.float64
    assert taken.keys is None
    again = TokenStore.open(tmp_path / "s").take(indices)
    assert np.array_equal(again.targets, taken.targets) and np.array_equal(again.borders, taken.borders)
    with pa.memory_map(str(tmp_path / "s" / "tokens.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    table.validate(full=True)
    assert table["border"].to_pylist() == TokenRows.concatenate(batches).borders.tolist()


def test_rows_without_borders_or_targets_have_none(store: TokenStore) -> None:
    taken = store.take(np.array([0, 1]))
    assert taken.borders is None and taken.targets is None


def test_targets_are_added_after_those_of_the_rows_and_not_written(tmp_path: Path) -> None:
    plain = build(TEXTS, tmp_path / "plain")
    values = np.arange(16.0).reshape(8, 2)
    plain.add_targets(values)
    assert np.array_equal(plain.take(np.array([3, 0])).targets, values[[3, 0]])
    plain.add_targets(values[:, :1] * 10)
    assert np.array_equal(plain.take(np.array([3])).targets, [[6.0, 7.0, 60.0]])
    assert TokenStore.open(tmp_path / "plain").take(np.array([3])).targets is None
    plain.verify()
    with pytest.raises(AssertionError, match="each row"):
        plain.add_targets(values[:-1])


def test_a_damaged_byte_of_targets_is_an_error_or_fails_the_checksum(tmp_path: Path) -> None:
    lengths = np.full(4, 3)
    rows = TokenRows(
        np.arange(12, dtype=np.int32), lengths, np.zeros(12, np.bool_), lengths, lengths - 1, np.ones((4, 2))
    )
    store = build_token_store(
        iter([[{}] * 4]), lambda _: rows, tmp_path / "s", sequence_length=3, overlong="drop"
    )
    path = store.directory / "tokens.arrow"
    good = path.read_bytes()
    for position in range(0, len(good), 5):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :])
        with pytest.raises(ArtifactError):
            TokenStore.open(tmp_path / "s").verify()


def test_pandas_is_not_imported(tmp_path: Path) -> None:
    """pyarrow imports it, for half a second, where NumPy arrays are handed to it carelessly."""
    build(TEXTS, tmp_path / "s")
    code = (
        "import sys, pathlib, numpy as np\n"
        "from hanji.data.token_store import TokenStore, build_token_store\n"
        "from hanji.contracts.rows import TokenRows\n"
        "rows = TokenRows(np.arange(4, dtype=np.int32), np.array([4]), np.ones(4, bool), np.array([4]))\n"
        f"at = pathlib.Path({str(tmp_path / 't')!r})\n"
        "store = build_token_store(iter([[{}]]), lambda _: rows, at, sequence_length=4, overlong='drop')\n"
        "store.take(np.array([0]))\n"
        "sys.exit('pandas' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
