"""The report as Markdown, with its charts as files beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hanji.evaluation.report.blocks import Both, Chart, Charts, Diagram, Section, Words
from hanji.evaluation.report.data import ReportData
from hanji.evaluation.report.html import TEMPLATES


def write_markdown(report: ReportData, sections: Sequence[Section], directory: Path) -> None:
    """`report.md`, and `charts/NAME.svg` for every chart in it."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=False, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {
        "words": english,
        "cell": cell,
        "heading": heading,
        "quoted": quoted,
        "fence": fence,
    }
    template = environment.get_template("report.md.jinja")
    text = re.sub(r"\n{3,}", "\n\n", template.render(report=report, sections=sections))
    (directory / "report.md").write_text(text.strip() + "\n", encoding="utf-8")
    (directory / "charts").mkdir(exist_ok=True)
    for chart in _charts(sections):
        (directory / "charts" / f"{chart.name}.svg").write_text(chart.drawing.standalone(), encoding="utf-8")


def english(text: Words) -> str:
    """The English words."""
    return text.en if isinstance(text, Both) else text


def heading(text: Both) -> str:
    """Both languages: headings are where a reader looks for the way."""
    return f"{text.en} · {text.ko}"


def cell(text: Words) -> str:
    """For a table: on one line, with nothing that ends the cell or starts markup."""
    return re.sub(r"([\\|`*_<\[])", r"\\\1", " ".join(english(text).split()))


def quoted(text: str) -> str:
    """As a block of quoted plain text, whatever it holds."""
    mark = fence(text)
    return f"{mark}text\n{text}\n{mark}"


def fence(text: str) -> str:
    """Backticks, more than any run of them in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)


def _charts(sections: Sequence[Section]) -> list[Chart]:
    found: list[Chart] = []
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Charts):
                found += block.charts
            elif isinstance(block, Diagram):
                found.append(block.chart)
    return found
