"""The token that fills a batch up: one that no row ends with."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

_PADDING: Final = re.compile(r"\bpad|pad\b|padding|_pad_", re.IGNORECASE)
_SPARE: Final = re.compile(r"reserved|unused|extra_id|dummy|placeholder", re.IGNORECASE)
_ENDING: Final = re.compile(r"end|eo[smtd]|</s>|\bsep\b|stop|return|im_end", re.IGNORECASE)


def choose_padding(hf: Any, endings: Collection[int], template: str) -> tuple[int, str | None, str | None]:
    """The padding token of a tokenizer, without enlarging its vocabulary.

    A tokenizer's own stays, unless it also ends a row: a model whose loss or attention knows padding by its
    id would then never learn to stop. In that case a special token made for padding is taken, then one kept
    in reserve, the unknown token, any special token that neither ends anything nor is in the template; and
    last, since padding is masked wherever it stands, any id at all; but never the mask token.

    Args:
        endings: ids that end a row or a turn.
        template: the chat template, or nothing.

    Returns:
        The id; the token, where it should be made the tokenizer's own; a sentence, where that is a change.
    """
    own = hf.pad_token_id
    if own is not None and own not in endings:
        return own, None, None
    why = (
        "the tokenizer has no padding token"
        if own is None
        else f"its padding token {hf.pad_token} also ends rows"
    )
    specials = {
        index: token.content
        for index, token in sorted(hf.added_tokens_decoder.items())
        if token.special and index not in endings and index != hf.mask_token_id
    }
    for index, token in _candidates(specials, hf, template):
        return index, token, f"Padding is {token}: {why}."
    index = next((index for index in range(len(hf)) if index not in {*endings, hf.mask_token_id}), 0)
    return index, None, f"Padding is id {index}, an ordinary token: {why}, and there is no spare special one."


def _candidates(specials: dict[int, str], hf: Any, template: str) -> Iterator[tuple[int, str]]:
    yield from ((index, token) for index, token in specials.items() if _PADDING.search(token))
    yield from ((index, token) for index, token in specials.items() if _SPARE.search(token))
    harmless = {index: token for index, token in specials.items() if not _ENDING.search(token)}
    if hf.unk_token_id in harmless:
        yield hf.unk_token_id, harmless[hf.unk_token_id]
    named = set(hf.special_tokens_map.values())
    spare = [
        (index, token) for index, token in harmless.items() if token not in named and token not in template
    ]
    yield from reversed(spare)
    yield from harmless.items()
