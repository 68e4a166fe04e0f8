"""The documentation of an installed Python: what is found, how it reads, that it is the same each time."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanji.data.python_docs import collection, modules, read_python_docs, read_python_questions
from hanji.data.python_docs.modules import ModuleFile
from hanji.data.python_docs.prose import parameter_meanings, sentence, summary, without_signature
from hanji.data.python_docs.questions import _arguments
from hanji.data.python_docs.symbols import read_builtin, read_module

SOURCE = '''
"""A module about paper. It has a second sentence."""
from .inner import *

class Sheet(Base, Other):
    """A sheet of paper that lasts."""

    def fold(self, times: int = 1, *, twice=False):
        """Fold the sheet along its middle.

        Args:
            times: How often the sheet is folded.
            twice: Whether it is folded once more
                at the end.
        """

    def __len__(self):
        """Not shown."""

async def make(pulp, *fibres, **more):
    """make sheets out of pulp"""

def _undocumented(): pass
'''


def test_symbols_of_a_module(tmp_path: Path) -> None:
    (tmp_path / "paper.py").write_text(SOURCE)
    module = read_module(ModuleFile("paper", tmp_path / "paper.py"))
    assert module is not None
    assert module.symbol.docstring == ast.get_docstring(ast.parse(SOURCE))
    sheet, make = module.members
    assert (sheet.full_name, sheet.bases, [member.full_name for member in sheet.members]) == (
        "paper.Sheet",
        ["Base", "Other"],
        ["paper.Sheet.fold"],
    )
    assert sheet.members[0].parameters == [("times", True), ("twice", True)]
    assert (make.signature, make.kind) == ("(pulp, *fibres, **more)", "function")
    assert summary(make.docstring) == "Make sheets out of pulp."
    assert parameter_meanings(sheet.members[0].docstring) == {
        "times": "How often the sheet is folded.",
        "twice": "Whether it is folded once more at the end.",
    }
    assert _arguments("paper.make", make.parameters or []) == (
        "`paper.make` takes `pulp` and, optionally, `*fibres` and `**more`."
    )


def test_a_file_that_this_python_cannot_parse_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text('"""A module of Python 2."""\nprint "hello"\n')
    assert read_module(ModuleFile("old", tmp_path / "old.py")) is None


def test_what_c_functions_document() -> None:
    import builtins

    members = {symbol.full_name: symbol for symbol in read_builtin(builtins).members}
    assert summary(members["len"].docstring) == "Return the number of items in a container."
    assert members["len"].parameters == [("obj", False)]
    methods = {symbol.full_name: symbol for symbol in members["str"].members}
    assert "str.join" in methods


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("Return all the items. And more.", "Return all the items."),
        ("return the items of `d`, e.g. a list", "Return the items of `d`, e.g. a list."),
        ("Return a :class:`~foo.bar.Baz` for ``x``.", "Return a `Baz` for `x`."),
        ("Return the *first* item of it.", "Return the first item of it."),
        ("See `other` for details.", None),
        ("Return:", None),
        ("Too short", None),
        ("Deprecated since version 3.4, use other.", None),
        (">>> f(3) is an example of it", None),
        ("obj_name is the name of an object", None),
        ("Return (an open bracket of something", None),
        ("x" * 300 + " is too long.", None),
    ],
)
def test_first_sentences(paragraph: str, expected: str | None) -> None:
    assert sentence(paragraph) == expected


def test_styles_of_parameters() -> None:
    numpy = (
        "Sum.\n\nParameters\n----------\naxis : int, optional\n    Axis along which the sum goes.\n\n"
        "Returns\n-------\nx : int\n    Not a parameter of it.\n"
    )
    assert parameter_meanings(numpy) == {"axis": "Axis along which the sum goes."}
    sphinx = "Do.\n\n:param str url: The address to open.\n:returns: a response"
    assert parameter_meanings(sphinx) == {"url": "The address to open."}
    assert parameter_meanings("Nothing about parameters here.") == {}


def test_signature_lines_are_not_prose() -> None:
    assert without_signature("f(x, y) -> int\n\nReturn it.") == "Return it."
    assert without_signature("Return f(x).") == "Return f(x)."


@pytest.fixture
def small_python(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only a few modules, so that the test is quick; the real ones, not fakes."""
    few = [file for file in modules.standard_library() if file.module.split(".")[0] in ("json", "textwrap")]
    monkeypatch.setattr(collection, "standard_library", lambda: few)
    monkeypatch.setattr(collection, "installed_packages", lambda: iter([]))
    for cached in (collection.standard_modules, collection.package_modules):
        cached.cache_clear()
    yield
    for cached in (collection.standard_modules, collection.package_modules):
        cached.cache_clear()


def test_pages(small_python: None) -> None:
    records = list(read_python_docs(None))
    pages = {record.value.split("\n", 1)[0]: record for record in records}
    dumps = next(page for title, page in pages.items() if title.startswith("json.dumps("))
    assert dumps.group == "json" and "Serialize `obj` to a JSON formatted `str`." in dumps.value
    assert any(title.startswith("class json.JSONEncoder") for title in pages), (
        "its public name, not its file's"
    )
    assert any(record.group.startswith("topic ") for record in records)
    assert [record.value for record in read_python_docs(None)] == [record.value for record in records]
    bounded = list(read_python_docs(10_000))
    assert 0 < sum(len(record.value) for record in bounded) <= 10_000
    assert [record.value for record in bounded] == [record.value for record in records[: len(bounded)]]


def test_questions(small_python: None) -> None:
    records = list(read_python_questions(None))
    chats = [[message["content"] for message in record.value["messages"]] for record in records]
    singles = {chat[0]: chat[1] for chat in chats if len(chat) == 2}
    assert singles["Which module is `JSONEncoder` in?"] == "`JSONEncoder` is a class of the module `json`."
    assert "Which module is `dumps` in?" not in singles, "marshal has one too"
    about = [
        question for question, answer in singles.items() if answer.startswith("Serialize `obj` to a JSON")
    ]
    assert len(about) >= 2 and all("dumps" in question for question in about)
    assert singles["Which class does `json.JSONDecodeError` inherit from?"] == (
        "`json.JSONDecodeError` is a subclass of `ValueError`."
    )
    assert any(len(chat) == 4 for chat in chats), "some chats have two turns"
    for chat in chats:
        for answer in chat[1::2]:
            assert answer[-1] in ".!?" and "\n" not in answer
            assert answer[0].isupper() or answer[0] == "`"
    assert len({tuple(chat) for chat in chats}) == len(chats), "no chat comes twice"
    assert {record.group for record in records} >= {"json", "json.encoder", "textwrap", "builtins"}
