"""The report as one HTML file: no script or style, font or picture comes from anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from hanji.evaluation.report.blocks import Both, Chart, Section, Words
from hanji.evaluation.report.data import ReportData
from hanji.evaluation.report.drawing import DARK, FONTS, LIGHT

TEMPLATES = Path(__file__).parent / "templates"


def as_html(report: ReportData, sections: Sequence[Section]) -> str:
    """The page. English and Korean are both in it; a button changes between them."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["words"] = words
    environment.filters["drawn"] = drawn
    template = environment.get_template("report.html.jinja")
    return template.render(
        report=report, sections=sections, light=LIGHT, dark=DARK, fonts=Markup(FONTS), Both=Both
    )


def words(text: Words) -> Markup:
    """Both languages, of which the page shows one; plain text as it is."""
    if isinstance(text, Both):
        return Markup('<span class="en" lang="en">{}</span><span class="ko" lang="ko">{}</span>').format(
            *text
        )
    return escape(text)


def drawn(chart: Chart) -> Markup:
    """The chart's SVG, to stand in the page."""
    return Markup(chart.drawing.inline(chart.name))
