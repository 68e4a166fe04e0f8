"""What a module documents: its functions, classes and methods, read by `ast` without importing it."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from hanji.data.python_docs.modules import ModuleFile, public_name

Kind = Literal["module", "class", "function", "method"]


@dataclass(slots=True)
class Symbol:
    """Something with a docstring.

    Attributes:
        module: where it is imported from.
        name: inside the module: `dumps`, `JSONEncoder.encode`; empty for the module itself.
        docstring: without indentation.
        signature: `(obj, *, indent=None)`, or empty where it is not known.
        parameters: names, each with whether it may be left out; None where they are not known.
        bases: of a class.
        members: methods of a class.
    """

    kind: Kind
    module: str
    name: str
    docstring: str
    signature: str = ""
    parameters: list[tuple[str, bool]] | None = None
    bases: list[str] = field(default_factory=list)
    members: list[Symbol] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        """As people write it: `json.dumps`, `str.join`."""
        if self.module == "builtins" and self.name:
            return self.name
        return f"{self.module}.{self.name}" if self.name else self.module

    @property
    def public(self) -> bool:
        """Whether no part of its name begins with an underscore."""
        return not any(part.startswith("_") for part in self.full_name.split("."))


@dataclass(slots=True)
class Module:
    """A module's docstring and its documented symbols.

    Attributes:
        exported: names that a package takes from its own modules: (module, name), `*` for all.
    """

    symbol: Symbol
    members: list[Symbol]
    exported: list[tuple[str, str]] = field(default_factory=list)


def read_module(file: ModuleFile) -> Module | None:
    """The documentation in a source file; None where this Python cannot parse it or nothing is written."""
    source = file.path.read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's files
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    name = public_name(file.module)
    docstring = ast.get_docstring(tree) or ""
    members = [symbol for node in tree.body if (symbol := _symbol(node, name, "")) is not None]
    exported = _exported(tree, file.module) if file.is_package else []
    return Module(Symbol("module", name, "", docstring), members, exported)


def _exported(tree: ast.Module, package: str) -> list[tuple[str, str]]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            found += [(f"{package}.{node.module}", alias.name) for alias in node.names if not alias.asname]
    return found


def _symbol(node: ast.AST, module: str, outer: str) -> Symbol | None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node)
        if not docstring or (node.name.startswith("__") and node.name != "__init__"):
            return None
        parameters = _parameters(node.args, skip_first=bool(outer) and not _is_static(node))
        signature = f"({ast.unparse(node.args)})"
        kind: Kind = "method" if outer else "function"
        return Symbol(kind, module, outer + node.name, docstring, signature, parameters)
    if isinstance(node, ast.ClassDef):
        name = outer + node.name
        inner = [found for item in node.body if (found := _symbol(item, module, f"{name}.")) is not None]
        docstring = ast.get_docstring(node) or ""
        if docstring or inner:
            bases = [ast.unparse(base) for base in node.bases if isinstance(base, ast.Name | ast.Attribute)]
            return Symbol("class", module, name, docstring, bases=bases, members=inner)
    return None


def _is_static(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in node.decorator_list)


def _parameters(arguments: ast.arguments, *, skip_first: bool) -> list[tuple[str, bool]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    found = [(argument.arg, index >= required) for index, argument in enumerate(positional)]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    found = found[1:] if skip_first else found
    found += [(argument.arg, default is not None) for argument, default in pairs]
    found += [(f"*{arguments.vararg.arg}", True)] if arguments.vararg else []
    found += [(f"**{arguments.kwarg.arg}", True)] if arguments.kwarg else []
    return found


def read_builtin(module: Any) -> Module:
    """The documentation of a module written in C, which is loaded already or comes with the interpreter."""
    name = public_name(module.__name__)
    members: list[Symbol] = []
    for attribute in sorted(vars(module)):
        value = vars(module)[attribute]
        home = getattr(value, "__module__", None)
        if not attribute.startswith("_") and (home is None or public_name(home) == name):
            members += _builtin_symbol(value, name, attribute)
    return Module(Symbol("module", name, "", inspect.getdoc(module) or ""), members)


def _builtin_symbol(value: Any, module: str, name: str) -> Iterator[Symbol]:
    docstring = value.__doc__
    if not isinstance(docstring, str) or not docstring.strip():
        return
    docstring = inspect.cleandoc(docstring)
    if isinstance(value, type):
        bases = [base.__name__ for base in value.__bases__ if base is not object]
        methods = [
            symbol
            for attribute in sorted(vars(value))
            if not attribute.startswith("_") and callable(vars(value)[attribute])
            for symbol in _builtin_symbol(vars(value)[attribute], module, f"{name}.{attribute}")
        ]
        yield Symbol("class", module, name, docstring, bases=bases, members=methods)
    elif callable(value):
        kind: Kind = "method" if "." in name else "function"
        yield Symbol(kind, module, name, docstring, *_builtin_signature(value, kind))


def _builtin_signature(value: Any, kind: Kind) -> tuple[str, list[tuple[str, bool]] | None]:
    try:
        signature = inspect.signature(value)
    except (ValueError, TypeError):
        return "", None
    taken = list(signature.parameters.values())[kind == "method" :]
    if any(parameter.name.startswith("_") for parameter in taken):
        return str(signature), None
    stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    named = [(stars.get(p.kind, "") + p.name, p.default is not p.empty or p.kind in stars) for p in taken]
    return str(signature), named
