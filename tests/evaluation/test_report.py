import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from hanji.evaluation.report import (
    Answer,
    Dataset,
    Model,
    Node,
    Planned,
    ReportData,
    TokenizerFacts,
    Training,
    write_report,
)
from hanji.evaluation.report.figures import amount, duration, size
from hanji.evaluation.report.sections import SECTIONS

NASTY = "<script>alert('한')</script> & `a` | \"b\" ``` {{ 1 }}"


def _log(steps):
    lines = []
    for step in range(1, steps + 1):
        loss = 3 + 5 * math.exp(-step / 10)
        lines.append({"step": step, "loss": loss, "learning_rate": 1e-3, "tokens_per_second": 9000.0})
        if step % 10 == 0:
            lines.append({"step": step, "validation_loss": loss + 0.1})
    return lines


def _store(overlong):
    histogram = {"bar_tokens": 16, "rows": [1, 5, 9, 2, 0, 0]}
    lengths = {"shortest": 3, "longest": 60, "mean": 30.0, "median": 33, "p95": 60, "histogram": histogram}
    source = {"given": 17, "overlong": overlong, "dropped": overlong}
    return {"rows": 17, "tokens": 510, "trained_tokens": 493, "lengths": lengths, "source": source}


@pytest.fixture(scope="module")
def everything():
    plan = [Planned("parameters", 100, 100), Planned("memory", 4e8, 5e8), Planned("seconds", 60, 90)]
    data = {"training": [_store(3)], "validation": [_store(0)]}
    base = Model(
        "base", 2_600_000,
        {
            "held_out": {"loss": 3.0, "perplexity": 20.1, "bits_per_byte": 1.5, "tokens": 5e4},
            "bigram": {"loss": 3.4, "bits_per_byte": 2.0},
        },
        "corpus (validation)", Training("pretrain", "clm", "", _log(40), 2e6, 99.0, data, plan),
    )  # fmt: skip
    chat = Model(
        f"chat {NASTY}", 2_600_000, {"endings": {"ended": 1.0, "answers": 2.0}}, "",
        Training("finetune", "sft", "full", _log(20)),
    )  # fmt: skip
    labels = {"accuracy": 0.8, "accuracy_low": 0.75, "accuracy_high": 0.85, "loss": 0.5, "rows": 200.0}
    judge = Model("judge", 2_600_000, {"held_out": labels}, "reviews (test)")
    answers = {"base": Answer("…and so on", False), chat.name: Answer(NASTY, True)}
    nodes = [
        Node("report", "report", "evaluate", parents=["chat", "base"]),
        Node("chat", "chat", "finetune", "77aa", ["base"]),
        Node("base", NASTY, "pretrain", "12ab", ["corpus"]),
        Node("corpus", "아주-긴-이름의-말뭉치-하나-둘-셋", "prepare", "34cd"),
    ]
    return ReportData(
        "quickstart", "2026-11-23", "0.1.0", "2 CPU cores", 341.0, [base, chat, judge],
        [Dataset("corpus", {"train": 90, "validation": 10}, {"duplicates": 7, "empty": 0})],
        [
            TokenizerFacts(
                "tokenizer", 4096,
                {"Hangul": {"tokens_per_word": 2.5, "bytes_per_token": 3.6, "characters": 10}},
            )
        ],
        [(NASTY, answers), ("안녕?", {"base": Answer("", True), chat.name: Answer("네.", True)})],
        nodes, {"base": f"kind: pretrain  # {NASTY}"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(everything, tmp_path_factory):
    directory = tmp_path_factory.mktemp("report")
    write_report(everything, directory)
    return directory


class Page(HTMLParser):
    """Collects what a page asks others for, its ids, and its text."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.asked, self.text, self.open, self.tags = [], [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "srcset", "data", "action") or (name in ("href", "xlink:href") and value):
                self.asked.append(value)

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_asks_nobody_for_anything(written):
    html = (written / "report.html").read_text("utf-8")
    page = Page(html)
    assert [link for link in page.asked if not link.startswith(("#", "data:"))] == []
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]+)", html))


def test_ids_on_the_page_are_unique_and_what_points_at_them_finds_them(written):
    html = (written / "report.html").read_text("utf-8")
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    pointed = [link[1:] for link in page.asked if link.startswith("#")] + re.findall(r"url\(#([^)]+)\)", html)
    assert set(pointed) <= set(page.ids)


def test_what_models_say_stays_text(written):
    page = Page((written / "report.html").read_text("utf-8"))
    assert page.tags.count("script") == 1
    assert NASTY in "".join(page.text)
    markdown = (written / "report.md").read_text("utf-8")
    assert f"````text\n{NASTY}\n````" in markdown


def test_every_section_is_there_in_both_languages(written, everything):
    html, markdown = ((written / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    sections = [section(everything) for section in SECTIONS]
    assert len(sections) == 10 and all(sections)
    for section in sections:
        assert f'<section id="{section.key}">' in html
        assert section.title.ko in html
        assert f"## {section.title.en} · {section.title.ko}" in markdown


def test_the_headline_compares_with_the_bigram(written):
    markdown = (written / "report.md").read_text("utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert "| held-out bits per byte | **1.500** | bigram 2.000: 25.0 % fewer |" in markdown
    assert "| answers that end by themselves | **1 / 2** |" in markdown
    assert "3 dropped" in markdown


def test_every_chart_of_the_markdown_is_a_drawing_of_its_own(written):
    markdown = (written / "report.md").read_text("utf-8")
    named = set(re.findall(r"\]\((charts/[^)]+\.svg)\)", markdown))
    assert named == {f"charts/{path.name}" for path in (written / "charts").iterdir()}
    assert len(named) == 10
    for path in named:
        drawing = ElementTree.parse(written / path).getroot()
        title = drawing.find("{http://www.w3.org/2000/svg}title")
        assert title is not None and len(title.text) > 20
        assert "#00000" not in (written / path).read_text("utf-8")


def test_drawings_on_the_page_take_its_colours_and_say_what_they_show(written):
    html = (written / "report.html").read_text("utf-8")
    assert "#00000" not in html
    assert html.count("<svg ") == html.count('<svg role="img" aria-label="') == 10
    assert '<tspan class="en">step</tspan><tspan class="ko">스텝</tspan>' in html


def test_the_loss_chart_holds_the_points_that_were_logged(everything):
    """The validation line's markers, read back from the SVG, fall on one straight scale."""
    training = next(section for section in SECTIONS if section.__module__.endswith(".training"))(everything)
    svg = training.blocks[0].charts[0].drawing.svg
    points = [
        (float(x), float(y))
        for x, y in re.findall(r'<use xlink:href="#\w+" x="([\d.]+)" y="([\d.]+)" style="fill: #000012', svg)
    ]
    logged = [line for line in _log(40) if "validation_loss" in line]
    assert len(points) >= len(logged) == 4
    (x0, y0), (x1, y1) = points[0], points[3]
    step = (x1 - x0) / (logged[3]["step"] - logged[0]["step"])
    rise = (y1 - y0) / (logged[3]["validation_loss"] - logged[0]["validation_loss"])
    for (x, y), line in zip(points[:4], logged, strict=True):
        assert x == pytest.approx(x0 + step * (line["step"] - logged[0]["step"]), abs=0.01)
        assert y == pytest.approx(
            y0 + rise * (line["validation_loss"] - logged[0]["validation_loss"]), abs=0.01
        )


def test_the_report_is_the_same_each_time(everything, written, tmp_path):
    write_report(everything, tmp_path)
    for path in (path.relative_to(written) for path in written.rglob("*") if path.is_file()):
        assert (tmp_path / path).read_bytes() == (written / path).read_bytes(), path


@pytest.mark.parametrize(
    "data",
    [
        ReportData("nothing"),
        ReportData("one", models=[Model("base")]),
        ReportData(
            "log", models=[Model("base", training=Training("pretrain", log=[{"step": 1, "loss": None}]))]
        ),
        ReportData(
            "step", models=[Model("base", training=Training("pretrain", log=[{"step": 1, "loss": 2.0}]))]
        ),
        ReportData("alone", lineage=[Node("a", "a", "prepare")]),
        ReportData("time", seconds=3.0),
    ],
    ids=lambda data: data.title,
)
def test_what_is_absent_is_left_out(data, tmp_path):
    write_report(data, tmp_path)
    html = (tmp_path / "report.html").read_text("utf-8")
    expected = {"nothing": 0, "one": 0, "log": 1, "step": 2, "alone": 1, "time": 1}[data.title]
    assert html.count("<section ") == expected
    assert "None" not in html and "nan" not in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (9999, "9,999"),
        (9999.6, "10 k"),
        (12_345, "12.3 k"),
        (999_600, "1 M"),
        (2.6e9, "2.6 B"),
    ],
)
def test_amounts(value, text):
    assert amount(value).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds).en == text


def test_sizes():
    assert [size(value).replace("\N{NO-BREAK SPACE}", " ") for value in (12, 999_900, 1.9e9)] == [
        "12 B",
        "1 MB",
        "1.9 GB",
    ]


def test_classifiers_have_a_table_of_their_own(tmp_path):
    scores = {"accuracy": 0.8, "accuracy_low": 0.75, "accuracy_high": 0.85, "loss": 0.5, "rows": 200.0}
    found = ReportData(
        "labels", models=[Model("judge", scores={"held_out": scores}, held_out="reviews (test)")]
    )
    write_report(found, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "80.0 % (75.0 % – 85.0 %)" in text
    assert "Prediction of unseen text" not in text
