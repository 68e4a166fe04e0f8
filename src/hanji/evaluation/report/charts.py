"""The report's charts, drawn by matplotlib; text stays text, colours are stand-ins (see `drawing`)."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from hanji.evaluation.report.drawing import FONTS, STAND_INS, Drawing

Pair = tuple[str, str]
"""English and Korean."""

_WIDTH_INCHES, _HEIGHT_INCHES = 4.0, 2.5
_STEPS = (1, 2, 2.5, 5, 10)
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hanji",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": STAND_INS["ink"],
    "axes.labelcolor": STAND_INS["muted"],
    "axes.edgecolor": STAND_INS["grid"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": STAND_INS["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": STAND_INS["muted"],
    "ytick.color": STAND_INS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its label, its points, and how it is drawn.

    Attributes:
        noisy: many points of one batch each; drawn faintly, with their running mean on top.
        marked: few points, each with a dot.
    """

    label: Pair
    x: Sequence[float]
    y: Sequence[float]
    noisy: bool = False
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A named point with the interval of its height, where that is known."""

    label: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


def lines(
    drawn: Sequence[Line],
    *,
    x_label: Pair,
    y_label: Pair,
    alt: Pair,
    levels: Mapping[Pair, float] | None = None,
    from_zero: bool = False,
) -> Drawing:
    """Lines over a common axis; `levels` are horizontal marks to compare with."""
    with _figure() as (figure, axes):
        for number, line in enumerate(drawn, 1):
            colour = STAND_INS[f"series-{number}"]
            smooth = _running_mean(line.y) if line.noisy else line.y
            if line.noisy:
                axes.plot(line.x, line.y, color=colour, alpha=0.25, linewidth=1)
            marker = {"marker": "o", "markersize": 3.5} if line.marked or len(line.x) == 1 else {}
            axes.plot(line.x, smooth, color=colour, label=line.label[0], **marker)
        for label, level in (levels or {}).items():
            axes.axhline(
                level, color=STAND_INS["muted"], linestyle=(0, (4, 3)), linewidth=1.2, label=label[0]
            )
        if len(drawn) + len(levels or {}) > 1:
            axes.legend(loc="best", labelcolor=STAND_INS["ink"])
        axes.set_xlabel(x_label[0])
        axes.set_ylabel(y_label[0])
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        if from_zero:
            axes.set_ylim(bottom=0)
        labels = [x_label, y_label, *(line.label for line in drawn), *(levels or {})]
        return _drawing(figure, alt, labels)


def points(
    drawn: Sequence[Point],
    *,
    x_label: Pair,
    y_label: Pair,
    alt: Pair,
    levels: Mapping[Pair, float] | None = None,
) -> Drawing:
    """Named points with their intervals over a logarithmic axis; `levels` are marks to compare with."""
    with _figure() as (figure, axes):
        axes.set_xscale("log")
        for number, point in enumerate(drawn):
            colour = STAND_INS[f"series-{number % 5 + 1}"]
            low, high = (point.y if end is None else end for end in (point.low, point.high))
            axes.plot([point.x, point.x], [low, high], color=colour, linewidth=1.6, alpha=0.55)
            axes.plot([point.x], [point.y], color=colour, marker="o", markersize=6, linestyle="none")
        for point, above in zip(drawn, _above(drawn), strict=True):
            end = point.high if above else point.low
            axes.annotate(
                point.label, (point.x, point.y if end is None else end), xytext=(0, 4 if above else -4),
                textcoords="offset points", ha="center", va="bottom" if above else "top",
                color=STAND_INS["ink"],
            )  # fmt: skip
        for label, level in (levels or {}).items():
            axes.axhline(
                level, color=STAND_INS["muted"], linestyle=(0, (4, 3)), linewidth=1.2, label=label[0]
            )
        if levels:
            axes.legend(loc="best", labelcolor=STAND_INS["ink"])
        axes.margins(x=0.14, y=0.18)
        decades = math.log10(max(point.x for point in drawn) / min(point.x for point in drawn))
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if decades > 1.5 else (1, 2, 5)))
        axes.set_xlabel(x_label[0])
        axes.set_ylabel(y_label[0])
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
        return _drawing(figure, alt, [x_label, y_label, *(levels or {})])


def _above(drawn: Sequence[Point]) -> list[bool]:
    """Whether each label stands above its interval: of close neighbours, that of the higher point alone."""
    order = sorted(range(len(drawn)), key=lambda index: drawn[index].x)
    above = [True] * len(drawn)
    decades = math.log10(drawn[order[-1]].x / drawn[order[0]].x) or 1.0
    for before, index in pairwise(order):
        if math.log10(drawn[index].x / drawn[before].x) < 0.2 * decades:
            above[index] = drawn[index].y >= drawn[before].y
            above[before] = not above[index]
    return above


def histogram(counts: Sequence[int], bar_width: float, *, x_label: Pair, y_label: Pair, alt: Pair) -> Drawing:
    """Bars of equal width from 0 on; what is empty at the end is left out."""
    last = int(np.flatnonzero(np.asarray(counts))[-1]) + 1
    with _figure() as (figure, axes):
        left = np.arange(last) * bar_width
        axes.bar(left, counts[:last], bar_width * 0.92, align="edge", color=STAND_INS["series-1"])
        axes.set_xlabel(x_label[0])
        axes.set_ylabel(y_label[0])
        axes.set_xlim(0, last * bar_width)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=_STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
        return _drawing(figure, alt, [x_label, y_label])


def bars(
    values: Mapping[Pair, float], *, x_label: Pair, alt: Pair, baselines: Collection[Pair] = ()
) -> Drawing:
    """Horizontal bars with their numbers; those in `baselines` in another colour."""
    with _figure(0.62 + 0.36 * len(values)) as (figure, axes):
        widest = max(values.values())
        gap = 0.015 * widest
        colours = [STAND_INS["series-2" if label in baselines else "series-1"] for label in values]
        axes.barh(range(len(values)), list(values.values()), height=0.62, color=colours)
        for row, value in enumerate(values.values()):
            if value > 0.25 * widest:
                axes.text(value - gap, row, f"{value:.3g}", va="center", ha="right", color=STAND_INS["paper"])
            else:
                axes.text(value + gap, row, f"{value:.3g}", va="center", color=STAND_INS["ink"])
        axes.set_yticks(range(len(values)), [label[0] for label in values])
        axes.set_xlabel(x_label[0])
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.grid(visible=False)
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelcolor=STAND_INS["ink"])
        return _drawing(figure, alt, [x_label, *values])


def _short(value: float, _: int | None = None) -> str:
    """A tick's number: 15000 → `15k`, 0.0005 → `5e-4`."""
    if value and abs(value) < 0.01:
        digits, exponent = f"{value:.3e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    for power, letter in ((9, "B"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{value / 10**power:g}{letter}"
    return f"{value:.6g}"


def _running_mean(values: Sequence[float]) -> list[float]:
    """Exponential, over about a fortieth of the points, without a bias towards the first."""
    keep = 1 - 1 / max(1.0, len(values) / 40)
    mean = weight = 0.0
    means = []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        means.append(mean / weight)
    return means


@contextmanager
def _figure(height_inches: float = _HEIGHT_INCHES) -> Iterator[tuple[Figure, Any]]:
    # names may be in any script: the browser has the glyphs, whether matplotlib's own font has them or not
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
        yield figure, figure.add_subplot()


def _drawing(figure: Figure, alt: Pair, labels: Sequence[Pair]) -> Drawing:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg ") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("'DejaVu Sans'", FONTS)
    return Drawing(svg, alt, dict(labels))
