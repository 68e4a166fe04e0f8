"""The settings of every stage, as they were used."""

from __future__ import annotations

from hanji.evaluation.report.blocks import Both, Listing, Section
from hanji.evaluation.report.data import ReportData


def section(report: ReportData) -> Section | None:
    """A listing to unfold for each stage, and the versions."""
    if not report.configs:
        return None
    listings = [Listing(name, text) for name, text in report.configs.items()]
    return Section("configuration", Both("Configuration", "설정"), listings)
