"""The lineage as a diagram: layers from the sources on the left to what was made last on the right."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from hanji.evaluation.report.data import Node
from hanji.evaluation.report.drawing import FONTS, STAND_INS, Drawing

_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 148, 54, 44, 18, 6
_NARROW_CHARACTERS = 16
"""Characters of a name that fit into a box; wide ones (Hangul, Han) count twice."""
_COLOUR_OF_KIND = {
    "prepare": "series-3",
    "tokenizer": "series-4",
    "pretrain": "series-1",
    "finetune": "series-2",
    "evaluate": "series-5",
}


@dataclass(slots=True)
class _Spot:
    """A box, or the point where a long edge passes through a layer (`node` is None)."""

    node: Node | None
    layer: int
    parents: list[_Spot] = field(default_factory=list)
    row: float = 0.0

    @property
    def x(self) -> float:
        return _MARGIN + self.layer * (_BOX_WIDTH + _GAP_X)

    @property
    def y(self) -> float:
        """The middle."""
        return _MARGIN + self.row * (_BOX_HEIGHT + _GAP_Y) + _BOX_HEIGHT / 2


def draw(nodes: Sequence[Node]) -> Drawing:
    """Boxes with name, kind and fingerprint, and arrows from parent to child."""
    layers = _layers(nodes)
    _order(layers)
    spots = [spot for layer in layers for spot in layer]
    width = 2 * _MARGIN + len(layers) * (_BOX_WIDTH + _GAP_X) - _GAP_X
    height = max(spot.y for spot in spots) + _BOX_HEIGHT / 2 + _MARGIN
    arrows = "".join(_arrow(parent, spot) for spot in spots for parent in spot.parents)
    boxes = "".join(_box(spot, spot.node) for spot in spots if spot.node is not None)
    grid = STAND_INS["muted"]
    head = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 8 4 0 8z" fill="{grid}"/></marker></defs>'
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'font-family="{escape(FONTS)}">{head}{arrows}{boxes}</svg>'
    )
    names = {node.key: node.name for node in nodes}
    said = "; ".join(
        f"{node.name} ← {', '.join(names[parent] for parent in node.parents)}"
        for node in nodes
        if node.parents
    )
    return Drawing(svg, (f"What was made from what: {said}", f"무엇으로 무엇을 만들었는가: {said}"))


def _layers(nodes: Sequence[Node]) -> list[list[_Spot]]:
    """Each node one layer after its latest parent; edges over several layers get a spot in each between."""
    by_key = {node.key: node for node in nodes}
    spots: dict[str, _Spot] = {}

    def place(key: str) -> _Spot:
        if key not in spots:
            node = by_key[key]
            parents = [place(parent) for parent in node.parents]
            layer = 1 + max((parent.layer for parent in parents), default=-1)
            spots[key] = _Spot(node, layer, parents)
        return spots[key]

    for node in nodes:
        place(node.key)
    layers: list[list[_Spot]] = [[] for _ in range(1 + max(spot.layer for spot in spots.values()))]
    for spot in spots.values():
        layers[spot.layer].append(spot)
        for number, parent in enumerate(spot.parents):
            before = parent
            for layer in range(parent.layer + 1, spot.layer):
                before = _Spot(None, layer, [before])
                layers[layer].append(before)
            spot.parents[number] = before
    return layers


def _order(layers: list[list[_Spot]]) -> None:
    """Puts every spot near the middle of its parents, and of its children, so that few arrows cross."""
    for layer in layers:
        for row, spot in enumerate(layer):
            spot.row = row
    children: dict[int, list[_Spot]] = {}
    for layer in layers:
        for spot in layer:
            for parent in spot.parents:
                children.setdefault(id(parent), []).append(spot)
    for _ in range(4):
        for layer in layers:
            _sort(layer, {id(spot): spot.parents for spot in layer})
        for layer in reversed(layers):
            _sort(layer, {id(spot): children.get(id(spot), []) for spot in layer})
    tallest = max(len(layer) for layer in layers)
    for layer in layers:
        for spot in layer:
            spot.row += (tallest - len(layer)) / 2


def _sort(layer: list[_Spot], neighbours: dict[int, list[_Spot]]) -> None:
    def middle(spot: _Spot) -> float:
        rows = [other.row for other in neighbours[id(spot)]]
        return sum(rows) / len(rows) if rows else spot.row

    layer.sort(key=middle)
    for row, spot in enumerate(layer):
        spot.row = row


def _arrow(parent: _Spot, child: _Spot) -> str:
    start = parent.x + _BOX_WIDTH
    tip = ' marker-end="url(#tip)"' if child.node is not None else ""
    bend = _GAP_X * 0.55
    path = (
        f"M{start:g} {parent.y:g}C{start + bend:g} {parent.y:g} "
        f"{child.x - bend:g} {child.y:g} {child.x:g} {child.y:g}"
    )
    if child.node is None:
        path += f"H{child.x + _BOX_WIDTH:g}"
    return f'<path d="{path}" fill="none" stroke="{STAND_INS["muted"]}" stroke-width="1.3"{tip}/>'


def _box(spot: _Spot, node: Node) -> str:
    colour = STAND_INS[_COLOUR_OF_KIND.get(node.kind, "muted")]
    top = spot.y - _BOX_HEIGHT / 2
    facts = " ".join(fact for fact in (node.kind, node.fingerprint[:8]) if fact)
    return (
        f"<g><title>{escape(node.name)}</title>"
        f'<rect x="{spot.x:g}" y="{top:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="7" '
        f'fill="{STAND_INS["paper"]}" stroke="{colour}" stroke-width="1.6"/>'
        f'<text x="{spot.x + 11:g}" y="{spot.y - 4:g}" font-size="13" font-weight="600" '
        f'fill="{STAND_INS["ink"]}">{escape(_fitting(node.name))}</text>'
        f'<text x="{spot.x + 11:g}" y="{spot.y + 15:g}" font-size="11" fill="{colour}">'
        f"{escape(facts)}</text></g>"
    )


def _fitting(name: str) -> str:
    """The name, or as much of its end as fits: ends of paths differ, beginnings do not."""

    def width(text: str) -> int:
        return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)

    if width(name) <= _NARROW_CHARACTERS:
        return name
    while width(name) > _NARROW_CHARACTERS - 1:
        name = name[1:]
    return "…" + name
