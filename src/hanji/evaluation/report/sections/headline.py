"""At a glance: what was made, and the numbers that matter first."""

from __future__ import annotations

from hanji.evaluation.report.blocks import Block, Both, Card, Cards, Paragraph, Section
from hanji.evaluation.report.data import Model, ReportData, Training
from hanji.evaluation.report.figures import amount, decimal, duration, percent


def section(report: ReportData) -> Section | None:
    """A sentence and a row of cards."""
    cards = [
        card
        for card in (
            _against_bigram(report),
            _ended(report),
            _parameters(report),
            _tokens(report),
            _time(report),
        )
        if card is not None
    ]
    sentence = _sentence(report)
    blocks: list[Block] = [Paragraph(sentence)] if sentence else []
    blocks += [Cards(cards)] if cards else []
    return Section("headline", Both("At a glance", "한눈에"), blocks) if blocks else None


def _sentence(report: ReportData) -> Both | None:
    told = [_told(model, model.training) for model in report.models if model.training]
    if not told:
        return None
    return Both("; ".join(part.en for part in told) + ".", "; ".join(part.ko for part in told) + ".")


def _told(model: Model, training: Training) -> Both:
    tokens = amount(training.tokens) if training.tokens else ""
    if training.kind != "pretrain":
        return Both(
            f"{model.name} learned further" + (f" from {tokens} tokens" if tokens else ""),
            f"{model.name}: 이어서" + (f" 토큰 {tokens}개로" if tokens else "") + " 학습함",
        )
    size = amount(model.parameters) if model.parameters else ""
    return Both(
        f"{model.name}{f', a model of {size} parameters,' if size else ''} began with random weights"
        + (f" and read {tokens} tokens" if tokens else ""),
        (f"매개변수 {size}개의 모델 " if size else "")
        + f"{model.name}: 무작위 가중치에서 시작"
        + (f"해 토큰 {tokens}개를 읽음" if tokens else ""),
    )


def _against_bigram(report: ReportData) -> Card | None:
    """The first model that has a bigram beside it; else the first with bits per byte."""

    def bits(model: Model, score: str) -> float | None:
        return model.scores.get(score, {}).get("bits_per_byte")

    label = Both("held-out bits per byte", "평가 데이터 바이트당 비트")
    for model in report.models:
        own, bigram = bits(model, "held_out"), bits(model, "bigram")
        if own is not None and bigram is not None:
            change = own / bigram - 1
            note = Both(
                f"bigram {decimal(bigram)}: {percent(abs(change))} {'fewer' if change < 0 else 'more'}",
                f"바이그램 {decimal(bigram)}보다 {percent(abs(change))} {'적음' if change < 0 else '많음'}",
            )
            return Card(label, decimal(own), note)
    for model in report.models:
        if (own := bits(model, "held_out")) is not None:
            return Card(label, decimal(own), model.name)
    return None


def _ended(report: ReportData) -> Card | None:
    for model in reversed(report.models):
        ends = model.scores.get("endings")
        if ends:
            value = f"{ends['ended']:.0f} / {ends['answers']:.0f}"
            return Card(Both("answers that end by themselves", "스스로 끝맺은 답변"), value, model.name)
    return None


def _parameters(report: ReportData) -> Card | None:
    sizes = [(model.parameters, model.name) for model in report.models if model.parameters]
    if not sizes:
        return None
    largest, name = max(sizes)
    return Card(Both("parameters", "매개변수"), amount(largest), name)


def _tokens(report: ReportData) -> Card | None:
    seen = [model.training.tokens for model in report.models if model.training and model.training.tokens]
    if not seen:
        return None
    return Card(
        Both("tokens trained on", "학습한 토큰"), amount(sum(seen)), Both("repetitions counted", "반복 포함")
    )


def _time(report: ReportData) -> Card | None:
    if report.seconds is None:
        return None
    return Card(Both("time, all stages", "전체 소요 시간"), duration(report.seconds), report.machine)
