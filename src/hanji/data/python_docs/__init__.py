"""Real text that every machine has: the documentation inside the installed Python and its packages."""

from hanji.data.python_docs.pages import read_python_docs
from hanji.data.python_docs.questions import read_python_questions

__all__ = ["read_python_docs", "read_python_questions"]
