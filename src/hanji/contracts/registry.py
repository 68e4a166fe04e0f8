"""A registry that knows names without importing what they name, open to other packages by entry points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, distributions
from typing import Any

from hanji.contracts.errors import ConfigError, nearest


@cache
def _foreign() -> list[EntryPoint]:
    """What other packages add to any registry, read once for all; the first on the path comes first."""
    points = (point for package in distributions() for point in package.entry_points)
    return [point for point in points if point.group.startswith("hanji.")]


class Registry(Mapping[str, str]):
    """Names and where they live, as `module:attribute`.

    Other packages add theirs by an entry point of group `hanji.<kind>`; nothing is imported until it is used.

    Args:
        kind: what is registered, in the plural: `objectives`, `methods`, ...
        own: name → `module:attribute`.
    """

    def __init__(self, kind: str, own: Mapping[str, str]) -> None:
        self.kind = kind
        self._own = dict(own)

    @cached_property
    def _all(self) -> dict[str, str]:
        group = f"hanji.{self.kind}"
        foreign = {point.name: point.value for point in reversed(_foreign()) if point.group == group}
        return {**foreign, **self._own}

    def __getitem__(self, name: str) -> str:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def load(self, name: str) -> Any:
        """What `name` stands for.

        Raises:
            ConfigError: for a name that nobody registered.
        """
        if name not in self:
            near = nearest(name, self)
            raise ConfigError(
                f"there is no {self.kind.removesuffix('s')} of this name",
                value=name,
                expected=", ".join(self),
                hint=f"did you mean {near}?" if near else None,
            )
        module, _, attribute = self[name].partition(":")
        return getattr(import_module(module), attribute)
