"""How well each model labels texts, or tells the better of two answers, on rows that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hanji.evaluation.report.blocks import Block, Both, Paragraph, Section, Table, Words
from hanji.evaluation.report.data import Model, ReportData
from hanji.evaluation.report.figures import amount, decimal, percent

_COLUMNS: list[tuple[Words, str, Callable[[float], str]]] = [
    (Both("accuracy", "정확도"), "accuracy", percent),
    (Both("macro F1", "매크로 F1"), "macro_f1", decimal),
    (Both("Matthews", "매슈스 상관계수"), "matthews", decimal),
    (Both("Pearson", "피어슨 상관계수"), "pearson", decimal),
    (Both("Spearman", "스피어만 상관계수"), "spearman", decimal),
    (Both("loss", "손실"), "loss", decimal),
    (Both("rows scored", "평가한 행"), "rows", amount),
]


def section(report: ReportData) -> Section | None:
    """A table of scores with their intervals; of models that are scored by rows, not by tokens."""
    scored = [model for model in report.models if "rows" in _scores(model)]
    if not scored:
        return None
    shown = [column for column in _COLUMNS if any(column[1] in _scores(model) for model in scored)]
    heads: list[Words] = [Both("model", "모델"), Both("held-out data", "평가 데이터")]
    rows: list[list[Words]] = [
        [model.name, model.held_out or "–", *(_cell(_scores(model), name, text) for _, name, text in shown)]
        for model in scored
    ]
    blocks: list[Block] = [
        Table([*heads, *(column[0] for column in shown)], rows),
        Paragraph(
            Both(
                "Held-out rows only. In brackets: where 95 % of the scores of rows drawn again with"
                " replacement lie; two models whose brackets overlap much are not told apart by these rows.",
                "학습에 쓰지 않은 행으로 잰 값입니다. 괄호는 행을 복원 추출해 다시 잰 점수의 95 %가 들어가는"
                " 범위이며, 범위가 많이 겹치는 두 모델은 이 행들만으로는 우열을 가릴 수 없습니다.",
            )
        ),
    ]
    return Section("labels", Both("Labels and choices", "분류와 선택"), blocks)


def _scores(model: Model) -> Mapping[str, float]:
    return model.scores.get("held_out", {})


def _cell(scores: Mapping[str, float], name: str, as_text: Callable[[float], str]) -> str:
    if name not in scores:
        return "–"
    text = as_text(scores[name])
    if f"{name}_low" not in scores:
        return text
    return f"{text} ({as_text(scores[f'{name}_low'])} – {as_text(scores[f'{name}_high'])})"
