"""All the documentation of this Python, module by module, in an order that is the same on each run."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
from dataclasses import dataclass
from functools import cache

from hanji.data.python_docs.modules import (
    ModuleFile,
    builtin_modules,
    installed_packages,
    standard_library,
    topics_file,
)
from hanji.data.python_docs.symbols import Module, Symbol, read_builtin, read_module

_NOT_PROSE = re.compile(r"^\s*(\[?!\[|\.\. |<|\|--|\[\!|:target:|:alt:|\[[\w-]+\]: http)")


@dataclass(frozen=True, slots=True)
class Package:
    """An installed distribution, as its metadata describe it."""

    name: str
    summary: str
    description: str


@cache
def standard_modules() -> tuple[Module, ...]:
    """Modules written in C, then those in Python; a name that both document comes once, from Python."""
    written = _named_by_package(standard_library())
    known = {symbol.full_name for module in written for symbol in module.members}
    found = []
    for name in builtin_modules():
        try:
            loaded = importlib.import_module(name)  # part of the interpreter: runs none of its Python code
        except ImportError:
            continue  # not on this platform
        module = read_builtin(loaded)
        module.members = [symbol for symbol in module.members if symbol.full_name not in known]
        found.append(module)
    return (*found, *written)


@cache
def package_modules() -> tuple[Module, ...]:
    """The modules of installed packages."""
    return tuple(module for files in installed_packages() for module in _named_by_package(files))


def descriptions() -> list[Package]:
    """The installed distributions by name, without badges and markup in their descriptions."""
    found = {}
    for distribution in importlib.metadata.distributions():
        metadata = distribution.metadata
        name = metadata["Name"]
        if name.lower() == "hanji":
            continue
        fields = {key: metadata[key] for key in metadata}
        lines = [line for line in fields.get("Description", "").splitlines() if not _NOT_PROSE.match(line)]
        found[name.lower()] = Package(name, fields.get("Summary", ""), "\n".join(lines).strip())
    return [found[name] for name in sorted(found)]


def topics() -> dict[str, str]:
    """Articles of the language reference that ship with Python; empty where a distributor left them out."""
    path = topics_file()
    if not path.is_file():
        return {}
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            return dict(ast.literal_eval(node.value))
    return {}


def _named_by_package(files: list[ModuleFile]) -> list[Module]:
    # json.encoder.JSONEncoder is json.JSONEncoder to everyone
    listed = [module for file in files if (module := read_module(file)) is not None]
    homes = {
        source: module.symbol.module
        for module in sorted(listed, key=lambda module: -module.symbol.module.count("."))
        for source in module.exported
    }
    for module in listed:
        for symbol in module.members:
            exact, star = (symbol.module, symbol.name), (symbol.module, "*")
            home = homes.get(exact) or (homes.get(star) if symbol.public else None)
            if home:
                _move(symbol, home)
    return listed


def _move(symbol: Symbol, module: str) -> None:
    symbol.module = module
    for member in symbol.members:
        _move(member, module)
