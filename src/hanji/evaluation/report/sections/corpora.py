"""What the models learned from: rows and their lengths, and everything that was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hanji.evaluation.report import charts
from hanji.evaluation.report.blocks import Block, Both, Chart, Charts, Section, Table, Words
from hanji.evaluation.report.data import Dataset, Model, ReportData
from hanji.evaluation.report.figures import amount

_OVERLONG: list[tuple[str, Both]] = [
    ("dropped", Both("dropped", "버림")),
    ("split", Both("split", "나눔")),
    ("truncated", Both("cut", "자름")),
]


_COUNTS = {
    "train": Both("training", "학습"),
    "validation": Both("validation", "검증"),
    "test": Both("test", "시험"),
    "skipped": Both("malformed", "형식 오류"),
    "empty": Both("empty", "빈 행"),
    "duplicates": Both("duplicates", "중복"),
    "contaminated": Both("near-copies", "유사 중복"),
    "left_out": Both("left out by weight", "비중에 따라 제외"),
}


def section(report: ReportData) -> Section | None:
    """Prepared rows, tokenised rows, and the distribution of lengths."""
    blocks: list[Block] = []
    if report.datasets:
        blocks.append(_prepared(report.datasets))
    stores = [
        (model, split, store)
        for model in report.models
        if model.training is not None
        for split in ("training", "validation")
        for store in model.training.data.get(split, ())
    ]
    if stores:
        blocks.append(_tokenised(stores))
    histograms = [
        chart
        for number, (model, split, store) in enumerate(stores, 1)
        if split == "training" and (chart := _lengths(model, store, f"lengths-{number}"))
    ]
    if histograms:
        blocks.append(Charts(histograms))
    return Section("data", Both("Data", "데이터"), blocks) if blocks else None


def _prepared(datasets: Sequence[Dataset]) -> Table:
    splits = list(dict.fromkeys(split for dataset in datasets for split in dataset.rows))
    left_out = list(
        dict.fromkeys(reason for dataset in datasets for reason, rows in dataset.left_out.items() if rows)
    )
    heads: list[Words] = [Both("prepared data, rows", "준비한 데이터 (행)")]
    heads += [_COUNTS.get(name, name) for name in (*splits, *left_out)]
    rows: list[list[Words]] = [
        [
            dataset.name,
            *(f"{dataset.rows.get(split, 0):,}" for split in splits),
            *(f"{dataset.left_out.get(reason, 0):,}" for reason in left_out),
        ]
        for dataset in datasets
    ]
    return Table(heads, rows)


def _tokenised(stores: Sequence[tuple[Model, str, Mapping[str, Any]]]) -> Table:
    heads: list[Words] = [
        Both("tokenised rows", "토큰화한 행"), Both("split", "구분"), Both("rows", "행"),
        Both("tokens", "토큰"), Both("learned", "학습 대상"), Both("median length", "길이 중앙값"),
        Both("longest", "최대 길이"),
        Both("over-long rows", "너무 긴 행"),
    ]  # fmt: skip
    rows: list[list[Words]] = []
    for model, split, store in stores:
        lengths = store.get("lengths", {})
        rows.append(
            [
                model.name,
                Both("training", "학습") if split == "training" else Both("validation", "검증"),
                amount(store["rows"]),
                amount(store["tokens"]),
                amount(store["trained_tokens"]),
                f"{lengths['median']:,}" if "median" in lengths else "–",
                f"{lengths['longest']:,}" if "longest" in lengths else "–",
                _overlong(store.get("source", {})),
            ]
        )
    return Table(heads, rows)


def _overlong(counts: Mapping[str, int]) -> Words:
    found = [(counts[name], word) for name, word in _OVERLONG if counts.get(name)]
    if not found:
        return "0"
    return Both(
        ", ".join(f"{number:,} {word.en}" for number, word in found),
        ", ".join(f"{number:,} {word.ko}" for number, word in found),
    )


def _lengths(model: Model, store: Mapping[str, Any], name: str) -> Chart | None:
    histogram = store.get("lengths", {}).get("histogram")
    if not histogram or not any(histogram["rows"]):
        return None
    median, longest = store["lengths"]["median"], store["lengths"]["longest"]
    drawing = charts.histogram(
        histogram["rows"], histogram["bar_tokens"], x_label=("tokens in a row", "한 행의 토큰 수"),
        y_label=("rows", "행"),
        alt=(
            f"Lengths of the training rows of {model.name}: median {median:,}, longest {longest:,} tokens",
            f"{model.name} 학습 데이터의 행 길이: 중앙값 {median:,}, 최대 {longest:,} 토큰",
        ),
    )  # fmt: skip
    return Chart(name, Both(f"Row lengths, {model.name}", f"행 길이, {model.name}"), drawing)
