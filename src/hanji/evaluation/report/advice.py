"""Which way to take, in a sentence or two that follow from the numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hanji.evaluation.comparison import Comparison, Way
from hanji.evaluation.report.blocks import Both
from hanji.evaluation.report.figures import NO_BREAK, decimal, percent

_SHARES = ("accuracy", "macro_f1")
"""Scores that read as percentages; what ends like them too."""
_KOREAN = {
    "accuracy": "정확도",
    "loss": "손실",
    "perplexity": "퍼플렉서티",
    "bits_per_byte": "바이트당 비트",
    "macro_f1": "매크로 F1",
    "matthews": "매슈스 상관",
    "pearson": "피어슨 상관",
    "spearman": "스피어만 상관",
    "mean_squared_error": "평균 제곱 오차",
}
_SAME = 0.03
"""Costs that differ by less are not told."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to take, and why.

    Attributes:
        take: the name of the way, or of the baseline; None where nothing can be said.
    """

    take: str | None
    text: Both


def advise(comparison: Comparison) -> Advice:
    """The advice."""
    if not comparison.methods:
        return Advice(
            None,
            Both(
                "No way could be scored, so the table tells only what each costs.",
                "점수를 잰 방식이 없어, 표는 비용만 보여 줍니다.",
            ),
        )
    if kept := _baseline(comparison):
        return kept
    if len(comparison.methods) == 1:
        return _alone(comparison)
    return _clear(comparison) if len(comparison.level) == 1 else _level(comparison)


def score_words(score: str) -> Both:
    """The score's name."""
    return Both(score.replace("_", " "), _KOREAN.get(score, score.replace("_", " ")))


def figure(score: str, value: float) -> str:
    """A score as people read it: accuracies as percentages."""
    return percent(value) if score.endswith(_SHARES) else decimal(value)


def gap(comparison: Comparison, way: Way, other: Way, *, unit: bool = True) -> Both:
    """How far `other` is behind `way`, with the interval; with `unit`, that of the score beside it."""
    found = comparison.difference(way, other)
    scale, units, places = 1.0, ("", ""), 3
    if comparison.score.endswith(_SHARES):
        scale, units, places = 100.0, (f"{NO_BREAK}points", f"{NO_BREAK}%p"), 1

    def told(value: float) -> str:
        return f"{scale * value + 0.0:.{places}f}".replace("-", "−")

    words = told(found.value)
    if found.low is not None and found.high is not None:
        words += f" ({told(found.low)} … {told(found.high)})"
    return Both(words + units[0], words + units[1]) if unit else Both(words, words)


def _baseline(comparison: Comparison) -> Advice | None:
    """Where no method is better than the best baseline."""
    if not comparison.baselines:
        return None
    base, best = comparison.baselines[0], comparison.methods[0]
    found = comparison.difference(best, base)
    if found.told_apart and found.value > 0:
        return None
    reached, own = _quality(comparison, best), _figure(comparison, base)
    rows, told = _rows(comparison), gap(comparison, base, best)
    if found.told_apart:
        why = Both(
            f"nothing beats it. The best way, {best.name}, reaches {reached.en} where {base.name} has {own},"
            f" ahead by {told.en}",
            f"이보다 나은 방식이 없습니다. 가장 나은 {best.name} 방식이 {reached.ko}, {base.name} 모델은"
            f" {own}, 차이는 {told.ko}입니다",
        )
    else:
        why = Both(
            f"no way can be told from it {rows.en}. The best, {best.name}, reaches {reached.en}; {base.name}"
            f" has {own}, ahead by {told.en}",
            f"{rows.ko} 이와 구별되는 방식이 없습니다. 가장 나은 {best.name} 방식이 {reached.ko},"
            f" {base.name} 모델은 {own}, 차이는 {told.ko}입니다",
        )
    return Advice(
        base.name,
        Both(
            f"Keep {base.name}: {why.en}. Try more data, a larger budget or other learning rates first.",
            f"{base.name} 모델을 그대로 쓰세요: {why.ko}. 먼저 데이터나 학습량을 늘리거나 학습률을 바꿔"
            " 보세요.",
        ),
    )


def _alone(comparison: Comparison) -> Advice:
    way = comparison.methods[0]
    beats = Both("", "")
    if comparison.baselines:
        base = comparison.baselines[0]
        own = _figure(comparison, base)
        beats = Both(f" and beats {base.name} at {own}", f" {base.name} 모델({own})보다 낫습니다.")
    reached = _quality(comparison, way)
    return Advice(
        way.name,
        Both(
            f"{way.name} is the only way that was scored: it reaches {reached.en}{beats.en}. Name more"
            " methods to learn whether another is better or cheaper.",
            f"점수를 잰 방식은 {way.name} 하나이며 {reached.ko}입니다.{beats.ko} 더 낫거나 값싼 방식이"
            " 있는지는 methods에 다른 방식을 더해 알아보세요.",
        ),
    )


def _clear(comparison: Comparison) -> Advice:
    """One method is better than every other."""
    best, second = comparison.methods[:2]
    reached, told = _quality(comparison, best), gap(comparison, best, second)
    frugal = min(comparison.methods, key=lambda way: way.cost or float("inf"))
    price = Both("It is the cheapest, too.", "비용도 가장 적습니다.")
    if frugal is not best:
        ratios, value = _ratios(best, frugal), _figure(comparison, frugal)
        price = Both(
            f"Its price beside the cheapest, {frugal.name} at {value}: {ratios.en}.",
            f"가장 값싼 {frugal.name} 방식({value})에 견준 비용: {ratios.ko}.",
        )
    return Advice(
        best.name,
        Both(
            f"Take {best.name}: with {reached.en} it is clearly the best; {second.name} follows, behind by"
            f" {told.en}. {price.en}",
            f"{best.name} 방식을 쓰세요: {reached.ko}, 뚜렷이 가장 낫습니다. 다음은 {second.name} 방식이며"
            f" {told.ko} 뒤집니다. {price.ko}",
        ),
    )


def _level(comparison: Comparison) -> Advice:
    """Several methods cannot be told from the best: the cheapest of them."""
    best, take = comparison.methods[0], comparison.cheapest
    reached, rows = _quality(comparison, take), _rows(comparison)
    behind = ", ".join(way.name for way in comparison.methods if way not in comparison.level)
    tail = Both(f" Clearly behind: {behind}.", f" 뚜렷이 뒤지는 방식: {behind}.") if behind else Both("", "")
    if take is best:
        others = ", ".join(way.name for way in comparison.level if way is not best)
        return Advice(
            take.name,
            Both(
                f"Take {take.name}: its {reached.en} is the best figure, and it is the cheapest of those that"
                f" cannot be told apart {rows.en} (beside it {others}).{tail.en}",
                f"{take.name} 방식을 쓰세요: {reached.ko}, 수치가 가장 좋고, {rows.ko} 서로 구별되지 않는"
                f" 방식({others} 포함) 가운데 비용도 가장 적습니다.{tail.ko}",
            ),
        )
    ratios, told, top = _ratios(take, best), gap(comparison, best, take), _figure(comparison, best)
    return Advice(
        take.name,
        Both(
            f"Take {take.name}: its {reached.en} cannot be told from the {top} of {best.name} {rows.en}, for"
            f" {ratios.en}. Take {best.name} only if more test rows show that its lead of {told.en} is real"
            f" and worth that.{tail.en}",
            f"{take.name} 방식을 쓰세요: {reached.ko}, {best.name} 방식의 {top} 수치와 {rows.ko} 구별되지"
            f" 않으며 비용은 그 방식의 {ratios.ko}입니다. {best.name} 방식은 테스트 행을 늘려도 {told.ko}의"
            f" 우세가 그대로이고 그만한 값어치가 있을 때만 쓰세요.{tail.ko}",
        ),
    )


def _quality(comparison: Comparison, way: Way) -> Both:
    name, value = score_words(comparison.score), _figure(comparison, way)
    return Both(f"{name.en} {value}", f"{name.ko} {value}")


def _figure(comparison: Comparison, way: Way) -> str:
    assert way.quality is not None
    return figure(comparison.score, way.quality.value)


def _rows(comparison: Comparison) -> Both:
    if comparison.rows is None:
        return Both("on these rows", "이 행들로는")
    return Both(f"on these {comparison.rows:,} rows", f"이 {comparison.rows:,}개 행으로는")


def _ratios(way: Way, other: Way) -> Both:
    """What `way` takes of what `other` takes: parameters, memory, time, disk, as far as they are known."""
    parts: list[tuple[str, str, Callable[[Way], float | None]]] = [
        ("the trained parameters", "학습한 매개변수", lambda way: way.trained_parameters),
        ("the peak memory", "최대 메모리", lambda way: way.peak_memory_bytes),
        ("the time", "시간", lambda way: way.seconds),
        ("the weights on disk", "디스크의 가중치", lambda way: way.bytes_on_disk),
    ]
    english, korean = [], []
    for name, korean_name, read in parts:
        own, theirs = read(way), read(other)
        if own is None or not theirs or abs(own / theirs - 1) < _SAME:
            continue
        share = _share(own / theirs)
        english.append(f"{share.en} {name}")
        korean.append(f"{korean_name} {share.ko}")
    if not english:
        return Both("the same price", "같은 비용")
    return Both(_joined(english), ", ".join(korean))


def _share(ratio: float) -> Both:
    if ratio > 1:
        times = f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"
        return Both(f"{times} times", f"{times}배")
    told = percent(ratio, 0 if ratio >= 0.1 else 1 if ratio >= 0.001 else 3)
    return Both(f"{told} of", told)


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
