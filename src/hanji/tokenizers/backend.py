"""Copies of a `tokenizers` backend, changed so that what is typed never becomes a control token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from hanji.contracts.errors import ModelError
from tokenizers import Tokenizer as Backend
from tokenizers import models

PRIVATE_USE: Final = range(0xF0000, 0x10FFFE)
"""Code points without a meaning, from which names are taken that no text holds."""


def special_tokens(backend: Backend) -> dict[str, int]:
    """Added tokens that are marked special, and their ids."""
    return {
        token.content: index for index, token in backend.get_added_tokens_decoder().items() if token.special
    }


def plain_description(backend: Backend) -> dict[str, Any]:
    """The backend as a mapping, without truncation, padding and post-processing."""
    description: dict[str, Any] = json.loads(backend.to_str())
    return description | {"truncation": None, "padding": None, "post_processor": None}


def text_backend(backend: Backend) -> Backend:
    """A copy to which special tokens in a text are ordinary letters.

    A Unigram model would still find them among its pieces. There they get a name with a space, which its
    pre-tokenizer has turned into another character before the model looks. Other models are shared with the
    copy, which then costs nothing.
    """
    if isinstance(backend.model, models.Unigram):
        description = plain_description(backend)
        added = description["added_tokens"]
        description["added_tokens"] = []
        _rename_pieces(
            description["model"],
            {token["content"]: f" {token['content']}" for token in added if token["special"]},
        )
        return Backend.from_str(json.dumps(description))
    added_tokens = backend.get_added_tokens_decoder()
    copy = Backend(backend.model)
    copy.normalizer, copy.pre_tokenizer, copy.decoder = (
        backend.normalizer, backend.pre_tokenizer, backend.decoder
    )  # fmt: skip
    copy.add_tokens([added_tokens[index] for index in sorted(added_tokens)])
    copy.encode_special_tokens = True
    return copy


def renamed_backend(backend: Backend, names: Mapping[str, str]) -> tuple[dict[str, Any], Backend]:
    """A copy that knows the tokens in `names` by their new names only; ids stay.

    Returns:
        The copy as a mapping, and made.

    Raises:
        ModelError: where a token cannot be recognised by another name.
    """
    description = plain_description(backend)
    for token in description["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    _rename_pieces(description["model"], names)
    copy = Backend.from_str(json.dumps(description))
    original = Backend.from_str(json.dumps(plain_description(backend)))
    probes = [(f"a {old} b{old}\n{old}c", f"a {new} b{new}\n{new}c") for old, new in names.items()]
    expected = original.encode_batch_fast([old for old, _ in probes], add_special_tokens=False)
    found = copy.encode_batch_fast([new for _, new in probes], add_special_tokens=False)
    for (old, _), ours, theirs in zip(probes, found, expected, strict=True):
        if ours.ids != theirs.ids:
            raise ModelError(
                "a special token of this tokenizer cannot be told from the same letters in a message",
                value=old.split()[1],
                hint="Use a tokenizer whose special tokens are not normalised.",
            )
    return description, copy


def _rename_pieces(model: dict[str, Any], names: Mapping[str, str]) -> None:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): index for piece, index in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if "".join(_pair(pair)) not in names]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]


def _pair(merge: str | list[str]) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else merge
