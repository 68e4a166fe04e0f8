"""Answers that must be of a form: a JSON schema, a regular expression, a grammar. By llguidance (extra)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from hanji.contracts.errors import ConfigError
from hanji.generation.requests import ConstraintError

if TYPE_CHECKING:
    from hanji.tokenizers.tokenizer import Tokenizer

_known: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""llguidance's form of tokenizers that were used before: making one takes up to a second."""


def json_schema(tokenizer: Tokenizer, schema: Mapping[str, Any] | bool) -> GrammarConstraint:
    """Answers are JSON of this schema.

    Raises:
        ConfigError: a schema that cannot be followed, or llguidance is not installed.
    """
    guidance = _guidance()
    try:
        text = json.dumps(schema)
        grammar = guidance.LLMatcher.grammar_from_json_schema(text, {"whitespace_flexible": False})
    except (ValueError, RecursionError, TypeError) as error:
        raise ConfigError(
            "this JSON schema cannot be read", where="schema", hint=_first_line(error)
        ) from error
    return GrammarConstraint(tokenizer, grammar, "schema")


def json_object(tokenizer: Tokenizer) -> GrammarConstraint:
    """Answers are a JSON object, whatever is in it."""
    return json_schema(tokenizer, {"type": "object"})


def regex(tokenizer: Tokenizer, pattern: str) -> GrammarConstraint:
    """Answers match the whole of a regular expression, as Rust's `regex` writes them.

    Raises:
        ConfigError: as `json_schema`.
    """
    return GrammarConstraint(tokenizer, _guidance().LLMatcher.grammar_from_regex(pattern), "regex")


def lark(tokenizer: Tokenizer, grammar: str) -> GrammarConstraint:
    """Answers follow a grammar, as Lark writes them.

    Raises:
        ConfigError: as `json_schema`.
    """
    return GrammarConstraint(tokenizer, _guidance().LLMatcher.grammar_from_lark(grammar), "grammar")


def lark_of(grammar: str) -> str:
    """A grammar as Lark writes it, from Lark, or from GBNF: rules with `::=`, of which `root` is the first.

    Raises:
        ConfigError: GBNF that cannot be read, or llguidance is not installed.
    """
    _guidance()
    if re.search(r"^\s*root\s*::=", grammar, re.MULTILINE) is None:
        return grammar
    from llguidance.gbnf_to_lark import gbnf_to_lark

    try:
        return str(gbnf_to_lark(grammar))
    except Exception as error:  # of many kinds, `Exception` itself among them
        raise ConfigError("this GBNF cannot be read", where="grammar", hint=_first_line(error)) from error


def lark_of_regex(pattern: str) -> str:
    """A grammar (Lark) of the texts that `regex` allows.

    Raises:
        ConfigError: llguidance is not installed.
    """
    return f"start: /{_guidance().regex_to_lark(pattern, '')}/\n"


class GrammarConstraint:
    """A grammar at its present state, for one answer; see `generation.requests.Constraint`.

    Args:
        kind: what the grammar was made from, for messages.
    """

    def __init__(self, tokenizer: Tokenizer, grammar: str, kind: str) -> None:
        guidance = _guidance()
        known = _known.get(tokenizer)
        if known is None:
            from llguidance.hf import from_tokenizer

            known = _known[tokenizer] = from_tokenizer(
                tokenizer.hf, n_vocab=tokenizer.vocabulary_size, eos_token=list(tokenizer.eos_ids)
            )
        self._size, self._kind = tokenizer.vocabulary_size, kind
        self._matcher = guidance.LLMatcher(known, grammar, log_level=0)
        self._check()

    def allowed(self) -> Tensor:
        """[vocabulary] bool: the tokens that may come next; those that end an answer where it may end.

        Raises:
            ConstraintError: llguidance has come to a limit of its own; so of `accept`.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._size].astype(np.bool_))

    def accept(self, token: int) -> None:
        """The answer goes on with `token`."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)
            self._check()

    def _check(self) -> None:
        if problem := self._matcher.get_error():
            raise ConstraintError(
                f"this {self._kind} cannot be followed", where=self._kind, hint=_first_line(problem)
            )

    @property
    def is_complete(self) -> bool:
        """Whether what was accepted is a whole answer."""
        return bool(self._matcher.is_accepting())


def _first_line(problem: object) -> str:
    """What llguidance says, short; of a regular expression it says why further down."""
    lines = str(problem).splitlines() or [""]
    why = next((line.removeprefix("error:") for line in lines if line.startswith("error:")), "")
    return f"{lines[0][:300]}{why}"


def _guidance() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise ConfigError(
            "answers of a given form need llguidance, which is not installed",
            hint="pip install 'hanji[constraints]'",
        ) from error
    return llguidance
