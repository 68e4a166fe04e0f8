"""Ways to adapt a model, side by side: advice, a table, quality against what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hanji.evaluation.comparison import Comparison, Way
from hanji.evaluation.report import charts
from hanji.evaluation.report.advice import Advice, figure, gap, score_words
from hanji.evaluation.report.blocks import Block, Both, Chart, Charts, Paragraph, Section, Table, Words
from hanji.evaluation.report.charts import Point
from hanji.evaluation.report.figures import NO_BREAK, amount, duration, percent, size

UNTRIED = Both("prompting, nothing trained", "프롬프트만, 학습 없음")
_NOT_TOLD = ("tokens", "rows")
_SCALES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B"))
_TIMES = ((3600, ("hours", "시간")), (60, ("minutes", "분")), (1, ("seconds", "초")))


def sections(comparison: Comparison, advice: Advice) -> list[Section]:
    """What stands first in the report of a comparison."""
    blocks = [Paragraph(advice.text), _table(comparison, advice.take), *_pictures(comparison)]
    found = [Section("headline", Both("Which way?", "어떤 방식이 나은가"), blocks)]
    if scores := _scores(comparison):
        found.append(Section("scores", Both("All scores", "모든 점수"), [scores]))
    found.append(Section("measured", Both("How this was measured", "측정 방법"), _about(comparison)))
    return found


def quality_words(comparison: Comparison, way: Way) -> str:
    """`93.1 % (90.2 – 95.4)`, or a dash."""
    if way.quality is None:
        return "–"
    value, low, high = way.quality.value, way.quality.low, way.quality.high
    told = figure(comparison.score, value)
    if low is None or high is None:
        return told
    ends = (figure(comparison.score, end).removesuffix(f"{NO_BREAK}%") for end in (low, high))
    return f"{told} ({' – '.join(ends)})"


def _table(comparison: Comparison, take: str | None) -> Table:
    score = score_words(comparison.score)
    lower = Both("lower is better", "낮을수록 좋음") if comparison.lower_is_better else Both("", "")
    best = comparison.methods[0] if comparison.methods else None
    columns: list[tuple[Words, Callable[[Way], Words]]] = [
        (Both("way", "방식"), lambda way: _name(way, take)),
        (
            Both(_with(score.en, lower.en), _with(score.ko, lower.ko)),
            lambda way: _unmeasured(way) or quality_words(comparison, way),
        ),
        (
            Both("behind the best", "최고와의 차이"),
            lambda way: _behind(comparison, best, way) if best and way is not best else "–",
        ),
        (Both("learning rate", "학습률"), lambda way: _known(way.learning_rate, lambda rate: f"{rate:.3g}")),
        (Both("parameters trained", "학습한 매개변수"), _trained),
        (Both("peak memory", "최대 메모리"), lambda way: _known(way.peak_memory_bytes, size)),
        (Both("training time", "학습 시간"), lambda way: _known(way.seconds, duration)),
        (Both("weights on disk", "디스크의 가중치"), lambda way: _known(way.bytes_on_disk, size)),
    ]
    return Table(
        [head for head, _ in columns], [[cell(way) for _, cell in columns] for way in comparison.ways]
    )


def _name(way: Way, take: str | None) -> Words:
    if way.role == "untried":
        return UNTRIED
    about = f" · {way.about}" if way.about else ""
    mark = " ✓" if way.name == take else ""
    if way.role == "baseline":
        return Both(f"{way.name} (baseline){about}{mark}", f"{way.name} (기준){about}{mark}")
    return f"{way.name}{about}{mark}"


def _behind(comparison: Comparison, best: Way, way: Way) -> str:
    return gap(comparison, best, way, unit=False).en if way.quality else "–"


def _unmeasured(way: Way) -> Words | None:
    return Both("not measured yet", "아직 재지 않음") if way.role == "untried" else None


def _with(words: str, remark: str) -> str:
    return f"{words} ({remark})" if remark else words


def _known(value: float | None, words: Callable[[float], Words]) -> Words:
    return "–" if value is None else words(value)


def _trained(way: Way) -> Words:
    if way.trained_parameters is None:
        return "–"
    if not way.parameters:
        return amount(way.trained_parameters)
    share = way.trained_parameters / way.parameters
    places = 0 if share == 1 else 1 if share >= 0.01 else 2 if share >= 0.0001 else 4
    return f"{amount(way.trained_parameters)} ({percent(share, places)})"


def _pictures(comparison: Comparison) -> list[Block]:
    found = [
        _against_parameters(comparison),
        _bars(comparison, "memory", Both("Peak memory of training", "학습의 최대 메모리")),
        _bars(comparison, "time", Both("Time of training", "학습 시간")),
    ]
    drawn = [chart for chart in found if chart is not None]
    return [Charts(drawn)] if drawn else []


def _against_parameters(comparison: Comparison) -> Chart | None:
    points = [
        Point(way.name, way.trained_parameters, way.quality.value, way.quality.low, way.quality.high)
        for way in comparison.ways
        if way.role == "method" and way.quality and way.trained_parameters
    ]
    if not points:
        return None
    score = score_words(comparison.score)
    levels = {
        (way.name, way.name): way.quality.value for way in comparison.baselines if way.quality is not None
    }
    told = "; ".join(
        f"{point.label} {amount(point.x)}, {figure(comparison.score, point.y)}" for point in points
    )
    lower = comparison.lower_is_better
    drawing = charts.points(
        points, levels=levels,
        x_label=("parameters trained (log scale)", "학습한 매개변수 (로그 눈금)"),
        y_label=(
            f"{score.en}, lower is better" if lower else score.en,
            f"{score.ko}, 낮을수록 좋음" if lower else score.ko,
        ),
        alt=(
            f"{score.en} against trained parameters: {told}", f"학습한 매개변수에 대한 {score.ko}: {told}",
        ),
    )  # fmt: skip
    return Chart("quality-by-parameters", Both("Quality and its interval", "품질과 그 구간"), drawing)


def _bars(comparison: Comparison, what: str, title: Both) -> Chart | None:
    ways = [way for way in comparison.ways if way.role != "untried"]
    values: Mapping[str, float | None]
    if what == "memory":
        values = {way.name: way.peak_memory_bytes for way in ways}
    else:
        values = {way.name: way.seconds for way in ways}
    known = {name: value for name, value in values.items() if value}
    if not known:
        return None
    if what == "memory":
        scale, unit = next(found for found in _SCALES if max(known.values()) >= found[0])
        label = (unit, unit)
    else:
        largest = max(known.values())
        scale, label = next((found for found in _TIMES if largest >= 2 * found[0]), _TIMES[-1])
    told = "; ".join(f"{name} {value / scale:.3g}" for name, value in known.items())
    drawing = charts.bars(
        {(name, name): value / scale for name, value in known.items()},
        baselines=[(way.name, way.name) for way in ways if way.role == "baseline"],
        x_label=label,
        alt=(f"{title.en}, {label[0]}: {told}", f"{title.ko}, {label[1]}: {told}"),
    )
    return Chart(f"{what}-by-way", title, drawing)


def _about(comparison: Comparison) -> list[Block]:
    """What the numbers are, and what they are not."""
    rows = "" if comparison.rows is None else f"{comparison.rows:,}"
    where = Both(
        f"Scored on {rows + ' rows of ' if rows else ''}{comparison.held_out}.",
        f"평가: {comparison.held_out}{f', {rows}개 행' if rows else ''}.",
    )
    if comparison.in_training:
        where = Both(
            f"{comparison.objective} scores each model against the one before its training, which is not"
            " there afterwards: these are the figures of the validation rows as training ended. Without the"
            " rows, differences have wider intervals than they need.",
            f"{comparison.objective}는 각 모델을 학습 전 모델에 견주므로 나중에 다시 잴 수 없습니다. 학습이"
            " 끝날 때 검증 행으로 잰 값이며, 행마다의 값이 없어 차이의 구간이 필요 이상으로 넓습니다.",
        )
    return [
        Paragraph(
            Both(
                f"{where.en} In brackets: where 95 % of the figures lie when rows are drawn again"
                " (bootstrap). Two ways count as different only where the interval of their difference, on"
                " the same rows, leaves out zero. That is the doubt that the rows leave; another seed of"
                " training would move the figures too.",
                f"{where.ko} 괄호 안은 행을 다시 뽑아 잴 때 값의 95 %가 놓이는 구간입니다(부트스트랩). 같은"
                " 행에서 잰 차이의 구간이 0을 포함하지 않을 때만 두 방식을 다르다고 봅니다. 이는 평가 행에서"
                " 오는 불확실성이며, 학습 시드가 달라져도 값은 움직입니다.",
            )
        ),
        Paragraph(
            Both(
                f"All ways had the same data and the same budget{_steps(comparison).en}. What is added to a"
                " model learns at a higher rate than the whole model; the table has the rates. Cheapest is"
                " the least peak memory times training time. Memory is what the process grew by since before"
                " the model was loaded. On disk are the weights to keep for this task; adapters, prompts and"
                " LoRAs need the base model beside them, which all tasks share.",
                f"모든 방식의 데이터와 학습량은 같습니다{_steps(comparison).ko}. 모델에 덧붙이는 방식은 모델"
                " 전체보다 큰 학습률로 배우며, 학습률은 표에 있습니다. 비용은 최대 메모리와 학습 시간의"
                " 곱으로 견줍니다. 메모리는 모델을 올리기 전보다 늘어난 양입니다. 디스크는 이 과제를 위해"
                " 보관할 가중치이며, adapter, prompt, lora 방식은 여러 과제가 함께 쓰는 원래 모델이 더"
                " 필요합니다.",
            )
        ),
    ]


def _steps(comparison: Comparison) -> Both:
    """` (150 steps)`, where all methods took as many."""
    taken = {way.steps for way in comparison.ways if way.role == "method"}
    if len(taken) != 1 or not (steps := taken.pop()):
        return Both("", "")
    return Both(f" ({steps:,} steps)", f" ({steps:,}스텝)")


def _scores(comparison: Comparison) -> Table | None:
    """Every score that a way has, its interval left out; None where there is no other than the quality."""
    ways = [way for way in comparison.ways if way.scores]
    names = dict.fromkeys(
        name
        for way in ways
        for name in way.scores
        if name not in _NOT_TOLD and not name.endswith(("_low", "_high"))
    )
    if not set(names) - {comparison.score}:
        return None
    rows: list[list[Words]] = [
        [way.name, *(figure(name, way.scores[name]) if name in way.scores else "–" for name in names)]
        for way in ways
    ]
    return Table([Both("way", "방식"), *map(score_words, names)], rows)
