"""The report: `report.html` in one file, `report.md` with its charts beside it.

`data` says what can be told, `sections` turn it into blocks, `html` and `markdown` write them down.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hanji.evaluation.report.blocks import Answer, Section
from hanji.evaluation.report.data import (
    Dataset,
    Model,
    Node,
    Planned,
    ReportData,
    TokenizerFacts,
    Training,
)
from hanji.evaluation.report.html import as_html
from hanji.evaluation.report.markdown import write_markdown
from hanji.evaluation.report.sections import SECTIONS

__all__ = [
    "Answer",
    "Dataset",
    "Model",
    "Node",
    "Planned",
    "ReportData",
    "TokenizerFacts",
    "Training",
    "write_report",
]


def write_report(report: ReportData, directory: Path, first: Sequence[Section] = ()) -> None:
    """Writes `report.html`, `report.md` and `charts/*.svg` into `directory`.

    Args:
        first: sections before all others; one with a key that another has stands in its place.
    """
    keys = {section.key for section in first}
    others = [found for section in SECTIONS if (found := section(report)) is not None]
    sections = [*first, *(section for section in others if section.key not in keys)]
    (directory / "report.html").write_text(as_html(report, sections), encoding="utf-8")
    write_markdown(report, sections, directory)
