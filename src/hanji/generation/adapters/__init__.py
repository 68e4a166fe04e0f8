"""Several adapters over one base model: each slot has one of them, or none, and all slots share a step.

LoRA and bottleneck adapters are of one form, `output + up(activation(down(read)))`. Where kernels multiply,
those without an activation are added to products (`low_rank`). Others stand beside their modules (`sites`):
the parts of all slots are stacked, and a step multiplies each row by those of its own slot. Soft prompts are
ids past the vocabulary, each with ids of its own.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hanji.artifacts.models import BASE, base_of
from hanji.contracts.errors import ModelError
from hanji.generation.adapters.files import (
    Adapter,
    Part,
    adapted_modules,
    read_adapter,
    read_config,
    why_alone,
)
from hanji.generation.adapters.low_rank import LowRank
from hanji.generation.adapters.sites import PromptTable, Site
from hanji.generation.packed import PackedLinears
from hanji.methods.saved import ADDED
from hanji.models.identity import weights_digest

__all__ = ["Adapters"]

KEPT: Final = 64
"""Adapters that stay in memory; others are read again when they are asked for."""


@dataclass
class Adapters:
    """The adapters that an engine knows.

    Args:
        model: the base.
        slots: of the engine.
        kept: how many stay in memory.
    """

    model: Any
    slots: int
    kept: int = KEPT
    places: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._loaded: OrderedDict[str, Adapter] = OrderedDict()
        self._prompts: dict[str, tuple[int, ...]] = {}
        self._sites: dict[str, list[Site]] = {}
        self._low_rank: LowRank | None = None
        self._own: list[str | None] = [None] * self.slots
        self._table: PromptTable | None = None
        self._digests: dict[tuple[str, ...], str] = {}
        self._added: Counter[str] = Counter()

    def work_in(self, packed: PackedLinears) -> None:
        """Adds what can be added there to the products of packed layers, from now on."""
        self._low_rank = LowRank(self.model, packed, self.slots)

    def add(self, name: str, directory: str | Path) -> None:
        """Makes an adapter known under a name. It is looked at now, and read when it is first asked for.

        Raises:
            ModelError: it is of another base, or of a kind that cannot share a step with others.
        """
        self._check(Path(directory))
        self.places[name] = Path(directory)
        self._added[name] += 1

    def identity(self, name: str | None) -> str:
        """What keys and values depend on besides the tokens."""
        return "" if name is None else f"{name} {self._added[name]}"

    def remove(self, name: str) -> None:
        """Forgets an adapter: another may have its name. Answers that are being written keep it."""
        self.places.pop(name, None)
        self._loaded.pop(name, None)
        self._prompts.pop(name, None)

    def virtual_ids(self, name: str | None) -> tuple[int, ...]:
        """What every prompt to this adapter begins with.

        Raises:
            ModelError: there is no adapter of this name.
        """
        if name is None:
            return ()
        adapter = self.load(name)
        if adapter.prompt is None:
            return ()
        if name not in self._prompts:
            if self._table is None:
                self._table = PromptTable(self.model.get_input_embeddings())
                self.model.set_input_embeddings(self._table)
            first = self._table.add(adapter.prompt)
            self._prompts[name] = tuple(range(first, first + len(adapter.prompt)))
        return self._prompts[name]

    def assign(self, slot: int, name: str | None) -> None:
        """The adapter of a slot from now on."""
        if self._own[slot] == name:
            return
        adapter = None if name is None else self.load(name)
        self._own[slot] = name
        parts = {} if adapter is None else dict(adapter.parts)
        if self._low_rank is not None:
            self._low_rank.assign(slot, adapter)
            parts = {name: part for name, part in parts.items() if not self._low_rank.takes(name, part)}
        for module, part in parts.items():
            self._site(module, part)
        for module, sites in self._sites.items():
            own = parts.get(module)
            for site in sites:
                fits = own is not None and (site.reads, site.activation) == (own.reads, own.activation)
                site.put(slot, own if fits else None)

    def load(self, name: str) -> Adapter:
        """An adapter's tensors.

        Raises:
            ModelError: there is no adapter of this name.
        """
        if name not in self._loaded:
            if name not in self.places:
                raise ModelError(
                    "there is no adapter of this name", value=name, expected=", ".join(self.places) or "none"
                )
            self._loaded[name] = read_adapter(self.model, self.places[name])
            while len(self._loaded) > self.kept:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def close(self) -> None:
        """The model is as it was."""
        for site in (site for sites in self._sites.values() for site in sites):
            site.close()
        if self._low_rank is not None:
            self._low_rank.close()
        if self._table is not None:
            self.model.set_input_embeddings(self._table.base)

    def _site(self, name: str, part: Part) -> None:
        sites = self._sites.setdefault(name, [])
        if any((site.reads, site.activation) == (part.reads, part.activation) for site in sites):
            return
        sites.append(Site(self.model, name, self.slots, part))

    def _check(self, directory: Path) -> None:
        config = read_config(directory)
        about = base_of(directory) if (directory / BASE).is_file() else None
        reason = why_alone(
            config,
            has_head=about is not None and bool(about.new),
            on_quantised=about is not None and about.quantization is not None,
        )
        if reason is not None:
            raise ModelError(
                "this adapter cannot share a base with others",
                where=str(directory / ADDED),
                value=reason,
                hint="save it merged (hanji export --to merged) and serve it as a model of its own",
            )
        adapted_modules(self.model, directory)
        if about is not None:
            own = self._digests.get(about.new)
            if own is None:
                own = self._digests[about.new] = weights_digest(self.model, about.new)
            if own != about.weights:
                raise ModelError(
                    "this adapter was trained on another base model",
                    where=str(directory),
                    value=f"weights {own[:12]}",
                    expected=f"weights {about.weights[:12]}",
                )
