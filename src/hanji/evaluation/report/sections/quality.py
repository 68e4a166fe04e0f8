"""How well each model predicts text that it never saw."""

from __future__ import annotations

from collections.abc import Callable

from hanji.evaluation.report import charts
from hanji.evaluation.report.blocks import Block, Both, Chart, Charts, Paragraph, Section, Table, Words
from hanji.evaluation.report.data import Model, ReportData
from hanji.evaluation.report.figures import amount, decimal, percent

_COLUMNS: list[tuple[Words, str, str, Callable[[float], str]]] = [
    (Both("loss, nats per token", "손실 (토큰당 nat)"), "held_out", "loss", decimal),
    (Both("perplexity", "퍼플렉서티"), "held_out", "perplexity", lambda value: decimal(value, 1)),
    (Both("bits per byte", "바이트당 비트"), "held_out", "bits_per_byte", decimal),
    (Both("bigram, bits per byte", "바이그램 (바이트당 비트)"), "bigram", "bits_per_byte", decimal),
    (Both("tokens right", "토큰 정답률"), "held_out", "accuracy", percent),
    (Both("tokens scored", "평가한 토큰"), "held_out", "tokens", amount),
]


def section(report: ReportData) -> Section | None:
    """A table of scores and, where bits per byte are known, bars."""
    of_tokens = [
        model for model in report.models if not _has(model, "held_out", "rows")
    ]  # `labels` has others
    scored = [model for model in of_tokens if any(_has(model, *column[1:3]) for column in _COLUMNS)]
    if not scored:
        return None
    shown = [column for column in _COLUMNS if any(_has(model, *column[1:3]) for model in scored)]
    about = any(model.held_out for model in scored)
    heads: list[Words] = [Both("model", "모델")]
    heads += [Both("held-out data", "평가 데이터")] if about else []
    rows: list[list[Words]] = []
    for model in scored:
        first: list[Words] = [model.name, model.held_out or "–"] if about else [model.name]
        rows.append([*first, *(_cell(model, *column[1:]) for column in shown)])
    blocks: list[Block] = [Table([*heads, *(column[0] for column in shown)], rows)]
    if chart := _bars(scored):
        blocks.append(Charts([chart]))
    blocks.append(
        Paragraph(
            Both(
                "Held-out rows only; lower is better. Bits per byte do not depend on the tokenizer, so that"
                " models of different tokenizers compare on the same data. The bigram is an interpolated"
                " Kneser-Ney model of the training rows of the same data, scored at the same positions.",
                "학습에 쓰지 않은 데이터로 잰 값이며, 낮을수록 좋습니다. 바이트당 비트는 토크나이저에"
                " 좌우되지 않으므로 같은 데이터라면 토크나이저가 다른 모델끼리도 비교할 수 있습니다."
                " 바이그램은 같은 데이터의 학습용 행으로 만든 보간 Kneser-Ney 모델이며, 같은 위치에서"
                " 평가했습니다.",
            )
        )
    )
    return Section("quality", Both("Prediction of unseen text", "처음 보는 글의 예측"), blocks)


def _has(model: Model, score: str, figure: str) -> bool:
    return figure in model.scores.get(score, {})


def _cell(model: Model, score: str, figure: str, as_text: Callable[[float], str]) -> str:
    return as_text(model.scores[score][figure]) if _has(model, score, figure) else "–"


def _bars(scored: list[Model]) -> Chart | None:
    """A bar for each model, and after it one for the bigram of its data."""
    values: dict[tuple[str, str], float] = {}
    bigrams = []
    for model in scored:
        if _has(model, "held_out", "bits_per_byte"):
            values[model.name, model.name] = model.scores["held_out"]["bits_per_byte"]
        if _has(model, "bigram", "bits_per_byte"):
            bigrams.append((f"bigram beside {model.name}", f"{model.name} 옆의 바이그램"))
            values[bigrams[-1]] = model.scores["bigram"]["bits_per_byte"]
    if not values:
        return None
    english, korean = (
        "; ".join(f"{label[n]} {value:.3f}" for label, value in values.items()) for n in (0, 1)
    )
    drawing = charts.bars(
        values, baselines=bigrams, x_label=("bits per byte", "바이트당 비트"),
        alt=(f"Bits per byte: {english}", f"바이트당 비트: {korean}"),
    )  # fmt: skip
    return Chart(
        "bits-per-byte", Both("Bits per byte, held-out data", "평가 데이터의 바이트당 비트"), drawing
    )
