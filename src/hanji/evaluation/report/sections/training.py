"""How the training went: loss, learning rate and throughput of every model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hanji.evaluation.report import charts
from hanji.evaluation.report.blocks import Both, Chart, Charts, Section
from hanji.evaluation.report.charts import Line
from hanji.evaluation.report.data import Model, ReportData, Training
from hanji.evaluation.report.figures import amount, duration

_STEP = ("step", "스텝")


def section(report: ReportData) -> Section | None:
    """For each trained model its three charts, as far as its log has them."""
    blocks = []
    for number, model in enumerate(report.models, 1):
        if model.training is None:
            continue
        drawn = [
            chart
            for chart in (
                _loss(model, model.training, f"loss-{number}"),
                _learning_rate(model, model.training, f"learning-rate-{number}"),
                _throughput(model, model.training, f"throughput-{number}"),
            )
            if chart is not None
        ]
        if drawn:
            blocks.append(Charts(drawn, _title(model, model.training)))
    return Section("training", Both("Training", "학습 과정"), blocks) if blocks else None


def _title(model: Model, training: Training) -> Both:
    facts = [item for item in (training.kind, training.objective, training.method) if item]
    english, korean = list(facts), list(facts)
    if training.tokens:
        english.append(f"{amount(training.tokens)} tokens")
        korean.append(f"토큰 {amount(training.tokens)}")
    if training.seconds:
        took = duration(training.seconds)
        english.append(took.en if isinstance(took, Both) else took)
        korean.append(took.ko if isinstance(took, Both) else took)
    return Both(f"{model.name}: {' · '.join(english)}", f"{model.name}: {' · '.join(korean)}")


def _points(log: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of the lines that have a finite number of this name."""
    found = [
        (line["step"], line[name])
        for line in log
        if isinstance(line.get(name), int | float) and math.isfinite(line[name])
    ]
    return [float(step) for step, _ in found], [float(value) for _, value in found]


def _loss(model: Model, training: Training, name: str) -> Chart | None:
    drawn = []
    steps, losses = _points(training.log, "loss")
    if steps:
        drawn.append(Line(("training", "학습"), steps, losses, noisy=True))
    steps, held_out = _points(training.log, "validation_loss")
    if steps:
        drawn.append(Line(("validation", "검증"), steps, held_out, marked=True))
    if not drawn:
        return None
    bigram = model.scores.get("bigram", {}).get("loss")
    ends = ", ".join(f"{line.label[0]} from {line.y[0]:.3f} to {line.y[-1]:.3f}" for line in drawn)
    drawing = charts.lines(
        drawn, x_label=_STEP, y_label=("nats per token", "토큰당 nat"),
        levels={("bigram", "바이그램"): bigram} if bigram is not None else {},
        alt=(f"Loss of {model.name} by step: {ends}", f"{model.name}의 스텝별 손실: {ends}"),
    )  # fmt: skip
    return Chart(name, Both("Loss", "손실"), drawing)


def _learning_rate(model: Model, training: Training, name: str) -> Chart | None:
    steps, rates = _points(training.log, "learning_rate")
    if not steps:
        return None
    highest = max(rates)
    drawing = charts.lines(
        [Line(("learning rate", "학습률"), steps, rates)], x_label=_STEP, y_label=("", ""), from_zero=True,
        alt=(
            f"Learning rate of {model.name} by step: at most {highest:.3g}, {rates[-1]:.3g} at the end",
            f"{model.name}의 스텝별 학습률: 최고 {highest:.3g}, 마지막 {rates[-1]:.3g}",
        ),
    )  # fmt: skip
    return Chart(name, Both("Learning rate", "학습률"), drawing)


def _throughput(model: Model, training: Training, name: str) -> Chart | None:
    steps, speeds = _points(training.log, "tokens_per_second")
    if not steps:
        return None
    middle = sorted(speeds)[len(speeds) // 2]
    drawing = charts.lines(
        [Line(("tokens per second", "초당 토큰"), steps, speeds, noisy=True)], x_label=_STEP,
        y_label=("tokens / s", "토큰/초"), from_zero=True,
        alt=(
            f"Throughput of {model.name} by step: {amount(middle)} tokens per second in the middle",
            f"{model.name}의 스텝별 처리량: 중앙값 초당 토큰 {amount(middle)}개",
        ),
    )  # fmt: skip
    return Chart(name, Both("Throughput", "처리량"), drawing)
