"""What was estimated before anything ran, and what came of it."""

from __future__ import annotations

from hanji.evaluation.report.blocks import Both, Section, Table, Words
from hanji.evaluation.report.data import Planned, ReportData
from hanji.evaluation.report.figures import duration, size

_QUANTITIES = {
    "parameters": Both("parameters", "매개변수"),
    "memory": Both("peak memory", "최대 메모리"),
    "seconds": Both("time", "시간"),
}


def section(report: ReportData) -> Section | None:
    """A row for each quantity of each training."""
    rows: list[list[Words]] = [
        [
            model.name,
            _QUANTITIES[item.quantity],
            _shown(item, item.planned),
            _shown(item, item.measured),
            _ratio(item),
        ]
        for model in report.models
        if model.training is not None
        for item in model.training.plan
    ]
    if not rows:
        return None
    heads: list[Words] = [
        Both("model", "모델"), Both("quantity", "항목"), Both("planned", "계획"), Both("measured", "실측"),
        Both("measured / planned", "실측 ÷ 계획"),
    ]  # fmt: skip
    return Section("plan", Both("Plan against measurement", "계획과 실측"), [Table(heads, rows)])


def _shown(item: Planned, value: float) -> Words:
    if item.quantity == "seconds":
        return duration(value)
    return size(value) if item.quantity == "memory" else f"{value:,.0f}"


def _ratio(item: Planned) -> str:
    return f"{item.measured / item.planned:.2f}" if item.planned else "–"
