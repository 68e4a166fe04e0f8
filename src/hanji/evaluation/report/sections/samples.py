"""The same prompts to every model, side by side: before and after."""

from __future__ import annotations

from hanji.evaluation.report.blocks import Both, Samples, Section
from hanji.evaluation.report.data import ReportData


def section(report: ReportData) -> Section | None:
    """Each prompt, each model's answer, and whether it ended by itself."""
    if not report.samples:
        return None
    answering = {name for _, answers in report.samples for name in answers}
    models = [model.name for model in report.models if model.name in answering]
    return Section(
        "samples", Both("Answers, side by side", "답변 비교"), [Samples(models, list(report.samples))]
    )
