"""The report: `report.html` in one file, `report.md` with its charts beside it.

`data` says what can be told, `sections` turn it into blocks, `html` and `markdown` write them down.
"""

from __future__ import annotations

from pathlib import Path

from hanji.evaluation.report.blocks import Answer
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


def write_report(report: ReportData, directory: Path) -> None:
    """Writes `report.html`, `report.md` and `charts/*.svg` into `directory`."""
    sections = [found for section in SECTIONS if (found := section(report)) is not None]
    (directory / "report.html").write_text(as_html(report, sections), encoding="utf-8")
    write_markdown(report, sections, directory)
