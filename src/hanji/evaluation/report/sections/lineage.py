"""What was made from what."""

from __future__ import annotations

from collections.abc import Sequence

from hanji.evaluation.report.blocks import Both, Chart, Diagram, Section
from hanji.evaluation.report.data import Node, ReportData
from hanji.evaluation.report.graph import draw


def section(report: ReportData) -> Section | None:
    """A diagram, and the same as an indented list."""
    if not report.lineage:
        return None
    title = Both("Lineage", "계보")
    chart = Chart("lineage", title, draw(report.lineage))
    return Section("lineage", title, [Diagram(chart, as_text(report.lineage))])


def as_text(nodes: Sequence[Node]) -> str:
    """Each artifact with what it was made from below it; what was shown before is only named again."""
    by_key = {node.key: node for node in nodes}
    inner = {parent for node in nodes for parent in node.parents}
    lines: list[str] = []
    seen: set[str] = set()

    def add(key: str, before: str, branch: str, below: str) -> None:
        node = by_key[key]
        facts = " ".join(fact for fact in (node.kind, node.fingerprint) if fact)
        again = " (see above)" if key in seen and node.parents else ""
        lines.append(f"{before}{branch}{node.name}" + (f"  [{facts}]" if facts else "") + again)
        if key in seen:
            return
        seen.add(key)
        for number, parent in enumerate(node.parents, 1):
            last = number == len(node.parents)
            add(parent, before + below, "└─ " if last else "├─ ", "   " if last else "│  ")

    for node in nodes:
        if node.key not in inner:
            add(node.key, "", "", "")
    return "\n".join(lines)
