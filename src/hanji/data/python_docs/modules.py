"""Where the documentation lies: source files of the standard library and of installed packages."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_PACKAGE_SOURCE_BYTES = 300_000
"""Source read of one installed package, so that a few giants are not most of the text."""

MAX_FILE_BYTES = 1_000_000

_SKIPPED_PARTS = frozenset(
    {"test", "tests", "testing", "_testing", "idlelib", "lib2to3", "pydoc_data", "turtledemo", "ensurepip"}
    | {"site-packages", "dist-packages", "__pycache__", "_vendor", "vendor", "externals", "__phello__"}
)
_SKIPPED_PACKAGES = frozenset(
    {"pip", "setuptools", "pkg_resources", "wheel", "mypyc", "torchgen", "multiprocess", "hanji"}
)

PUBLIC_NAMES = {
    "_pydecimal": "decimal",
    "_pydatetime": "datetime",
    "_pyio": "io",
    "_collections_abc": "collections.abc",
    "_weakrefset": "weakref",
    "_strptime": "time",
}
"""Modules of the standard library that people know under another name."""


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """A Python source file; `module` is its name as people import it."""

    module: str
    path: Path

    @property
    def is_package(self) -> bool:
        """Whether it is the `__init__` of a package."""
        return self.path.name == "__init__.py"


def standard_library() -> list[ModuleFile]:
    """The modules of the standard library that are written in Python, without its tests."""
    return _modules(Path(sysconfig.get_path("stdlib")))


def installed_packages() -> Iterator[list[ModuleFile]]:
    """For each package beside the standard library, its public modules first, up to a bound of source."""
    directories = dict.fromkeys(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))
    for directory in directories:
        for top in sorted(directory.iterdir()) if directory.is_dir() else ():
            if (
                top.name.startswith(("_", "."))
                or top.name in _SKIPPED_PACKAGES
                or not top.name.isidentifier()
            ):
                continue
            if (top / "__init__.py").is_file():
                yield _bounded(_modules(top, directory))


def topics_file() -> Path:
    """The language reference in the form in which `help()` prints it."""
    return Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"


def builtin_modules() -> tuple[str, ...]:
    """Modules written in C whose documentation is only in the running interpreter."""
    inside = {name for name in sys.builtin_module_names if not name.startswith("_")} - {"xxsubtype", "errno"}
    return tuple(sorted(inside | _C_MODULES.keys() | {"math", "cmath", "array", "zlib", "unicodedata"}))


def public_name(module: str) -> str:
    """The name under which a module's content is imported."""
    head, _, rest = module.partition(".")
    head = PUBLIC_NAMES.get(head, _C_MODULES.get(head, head))
    return f"{head}.{rest}" if rest else head


_C_MODULES = {
    "posix": "os",
    "_functools": "functools",
    "_operator": "operator",
    "_collections": "collections",
    "_struct": "struct",
    "_random": "random",
    "_socket": "socket",
    "_bisect": "bisect",
    "_heapq": "heapq",
    "_csv": "csv",
    "_datetime": "datetime",
    "_weakref": "weakref",
    "_sqlite3": "sqlite3",
}


def _modules(root: Path, parent: Path | None = None) -> list[ModuleFile]:
    base = parent or root
    found = []
    for path in _source_files(root):
        parts = path.relative_to(base).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts and parts[-1] != "__main__" and not parts[-1].startswith(("test_", "conftest")):
            found.append(ModuleFile(".".join(parts), path))
    return sorted(found, key=lambda file: file.module)


def _source_files(root: Path) -> Iterator[Path]:
    for directory, inner, files in os.walk(root):
        inner[:] = [name for name in inner if name not in _SKIPPED_PARTS and name.isidentifier()]
        for name in files:
            if name.endswith(".py") and name[:-3].isidentifier():
                yield Path(directory, name)


def _bounded(files: list[ModuleFile]) -> list[ModuleFile]:
    def rank(file: ModuleFile) -> tuple[bool, int, str]:
        parts = file.module.split(".")
        return any(part.startswith("_") for part in parts), len(parts), file.module

    kept, room = [], MAX_PACKAGE_SOURCE_BYTES
    for file in sorted(files, key=rank):
        size = file.path.stat().st_size
        if size <= min(room, MAX_FILE_BYTES):
            room -= size
            kept.append(file)
    return kept
