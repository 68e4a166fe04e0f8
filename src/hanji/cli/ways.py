"""A finished comparison in the terminal: the table, and the advice below it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanji.cli import figures

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hanji.artifacts.artifact import Artifact

COMPARISON = "comparison.json"
WIDE = 100


def ways(place: Path, width: int = WIDE) -> RenderableType:
    """What `comparison.json` in the directory `place` says, in `width` characters: where they are few, the
    table tells less, for the report has it all."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    found = json.loads((place / COMPARISON).read_text(encoding="utf-8"))
    score = found["score"].replace("_", " ") + (" ↓" if found["lower_is_better"] else "")
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        score: lambda way: _quality(found["score"], way),
        "rate": lambda way: _known(way["learning_rate"], lambda rate: f"{rate:.3g}"),
        "trained": _trained if width >= WIDE else _share,
        "memory": lambda way: _known(way["peak_memory_bytes"], figures.size),
        "time": lambda way: _known(way["seconds"], figures.seconds),
        "on disk": lambda way: _known(way["bytes_on_disk"], figures.size),
    }
    for left_out in () if width >= WIDE else ("rate", "on disk"):
        del columns[left_out]
    table = Table(box=None, header_style="bold cyan", padding=(0, 2, 0, 1))
    table.add_column("way")
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for way in found["ways"]:
        taken = way["name"] == found["advice"]["take"]
        name = Text.assemble(
            ("✓ " if taken else "  ", "green"), (_name(way), "bold" if taken else ""), (_about(way), "dim")
        )
        table.add_row(name, *(cell(way) for cell in columns.values()))
    rows = "" if found["rows"] is None else f"{found['rows']:,} rows of "
    lower = "; ↓ lower is better" if found["lower_is_better"] else ""
    below = Text(f"\n {rows}{found['held_out'] or 'validation rows, as training ended'}{lower}", "dim")
    return Group(
        "", table, below, "", Text(f" {found['advice']['en']}".replace("\N{NO-BREAK SPACE}", " ")), ""
    )


def taken_model(artifact: Artifact) -> str | None:
    """The model that a comparison advises; None where it advises none, or is none."""
    if artifact.kind != "compare":
        return None
    found = json.loads((artifact.path / COMPARISON).read_text(encoding="utf-8"))
    return f"{artifact.name}-{found['advice']['take']}"


def _name(way: Mapping[str, Any]) -> str:
    if way["role"] == "untried":
        return f"{way['name']}, nothing trained"
    return str(way["name"])


def _about(way: Mapping[str, Any]) -> str:
    remark = {"baseline": " (baseline)", "untried": ""}.get(way["role"], "")
    return remark + (f"  {way['options']}" if way["options"] else "")


def _quality(score: str, way: Mapping[str, Any]) -> str:
    if way["role"] == "untried":
        return "not measured yet"
    quality = way["quality"]
    if quality is None:
        return "–"
    share = score.endswith(("accuracy", "macro_f1"))

    def told(value: float) -> str:
        return f"{100 * value:.1f}" if share else f"{value:.3f}"

    unit = " %" if share else ""
    if quality["low"] is None:
        return told(quality["value"]) + unit
    return f"{told(quality['value'])} ({told(quality['low'])} – {told(quality['high'])}){unit}"


def _trained(way: Mapping[str, Any]) -> str:
    trained, whole = way["trained_parameters"], way["parameters"]
    if trained is None:
        return "–"
    return figures.count(trained) + (f" ({100 * trained / whole:.3g} %)" if whole else "")


def _share(way: Mapping[str, Any]) -> str:
    trained, whole = way["trained_parameters"], way["parameters"]
    return f"{100 * trained / whole:.3g} %" if trained is not None and whole else "–"


def _known(value: float | None, words: Callable[[float], str]) -> str:
    return "–" if value is None else words(value)
