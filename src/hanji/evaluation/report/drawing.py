"""SVG that wears the page's colours: drawn in stand-ins, dressed when it is known where it will be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from types import MappingProxyType

STAND_INS = MappingProxyType(
    {
        "ink": "#000001",
        "muted": "#000002",
        "grid": "#000003",
        "paper": "#000004",
        "series-1": "#000011",
        "series-2": "#000012",
        "series-3": "#000013",
        "series-4": "#000014",
        "series-5": "#000015",
    }
)
"""A colour's role → the colour that is drawn with."""

LIGHT = MappingProxyType(
    {
        "ink": "#2a2622",
        "muted": "#6e665c",
        "grid": "#e3dccd",
        "paper": "#fffdf8",
        "series-1": "#2c5f8d",
        "series-2": "#c04f36",
        "series-3": "#3f7d58",
        "series-4": "#9a6b12",
        "series-5": "#775391",
    }
)
DARK = MappingProxyType(
    {
        "ink": "#ece6da",
        "muted": "#a89f91",
        "grid": "#3a352e",
        "paper": "#211e1a",
        "series-1": "#82b4e0",
        "series-2": "#f0937b",
        "series-3": "#8cc7a0",
        "series-4": "#e2b75a",
        "series-5": "#c3a3da",
    }
)
"""The colours of paper, ink and dancheong, each readable on its paper (a contrast of 4.5 at least)."""

FONTS = (
    "system-ui, -apple-system, 'Segoe UI', 'Apple SD Gothic Neo', 'Malgun Gothic', 'Noto Sans KR', sans-serif"
)


@dataclass(frozen=True, slots=True)
class Drawing:
    """An SVG element in stand-in colours.

    Attributes:
        svg: `<svg …>…</svg>`, without prolog, width or height.
        alt: what it shows, in a sentence, for who cannot see it: English and Korean.
        translations: words in the drawing, English → Korean.
    """

    svg: str
    alt: tuple[str, str]
    translations: Mapping[str, str] = field(default_factory=dict)

    def inline(self, name: str) -> str:
        """For a page that defines the colours as CSS variables and shows one language of `.en` and `.ko`.

        Args:
            name: unique on the page; goes before every id, lest two drawings share one.
        """
        svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", self.svg)
        for role, stand_in in STAND_INS.items():
            svg = svg.replace(stand_in, f"var(--{role})")
        svg = re.sub(r">([^<>]+)</text>", self._in_both_languages, svg)
        label = escape(" / ".join(self.alt), quote=True)
        return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)

    def standalone(self) -> str:
        """A file of its own, on white-ish paper: reads the same wherever it is shown."""
        svg = self.svg
        for role, stand_in in STAND_INS.items():
            svg = svg.replace(stand_in, LIGHT[role])
        paper = f'<rect width="100%" height="100%" fill="{LIGHT["paper"]}"/>'
        svg = re.sub(
            r"(<svg [^>]*>)",
            lambda found: f"{found[0]}<title>{escape(self.alt[0])}</title>{paper}",
            svg,
            count=1,
        )
        return '<?xml version="1.0" encoding="utf-8"?>\n' + svg

    def _in_both_languages(self, found: re.Match[str]) -> str:
        korean = self.translations.get(found[1])
        if korean is None:
            return found[0]
        return f'><tspan class="en">{found[1]}</tspan><tspan class="ko">{escape(korean)}</tspan></text>'
