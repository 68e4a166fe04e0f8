"""The report's sections, in their order. A new one is one file here and one line below.

Each is a function from the report's data to a `Section`, or to None where there is nothing to tell.
"""

from __future__ import annotations

from collections.abc import Callable

from hanji.evaluation.report.blocks import Section
from hanji.evaluation.report.data import ReportData
from hanji.evaluation.report.sections import (
    configuration,
    corpora,
    headline,
    labels,
    lineage,
    planning,
    quality,
    samples,
    tokenizers,
    training,
)

SECTIONS: list[Callable[[ReportData], Section | None]] = [
    headline.section,
    samples.section,
    quality.section,
    labels.section,
    training.section,
    corpora.section,
    tokenizers.section,
    planning.section,
    lineage.section,
    configuration.section,
]
