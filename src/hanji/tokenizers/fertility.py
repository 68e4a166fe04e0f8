"""How many tokens a text costs, script by script: a tokenizer's report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from hanji.contracts.protocols import Encoder

SCRIPTS: Final = {
    "Hangul": r"[\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7ff\uffa0-\uffdc]",
    "Han": r"[\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
    r"|[\U00020000-\U000323af]",
    "Kana": r"[\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff\uff66-\uff9f]",
    "Latin": r"[A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]"
    r"|[\uff21-\uff3a\uff41-\uff5a]",
    "Cyrillic": r"[\u0400-\u052f\u1c80-\u1c8f]",
    "digits": r"[0-9\uff10-\uff19]",
    "punctuation and code": r"[^\w\s]|_",
    "other letters": r"[^\W\d_]",
}
"""What a character belongs to; the first that fits."""

_RUN: Final = re.compile(
    "|".join(f"(?P<s{index}>(?:{pattern})+)" for index, pattern in enumerate(SCRIPTS.values()))
)
_NAMES: Final = {f"s{index}": name for index, name in enumerate(SCRIPTS)}
_TEXTS_AT_ONCE: Final = 512


def fertility(tokenizer: Encoder, texts: Iterable[str]) -> dict[str, dict[str, float]]:
    """What each script of `texts` costs.

    A script's word is a run of its characters; it is encoded with the space before it, where there is one, as
    it stands in running text. `all` is the texts as they are, spaces included, with words between spaces.

    Returns:
        script → `tokens_per_word`, `characters_per_token`, `bytes_per_token`, `characters`. Scripts that do
        not occur are left out.
    """
    sums: dict[str, list[int]] = {}
    remaining = iter(texts)
    while part := list(islice(remaining, _TEXTS_AT_ONCE)):
        runs = [run for text in part for run in _runs(text)]
        counts = tokenizer.encode_texts([run for _, run in runs])[1].tolist()
        for (name, run), tokens in zip(runs, counts, strict=True):
            _add(sums, name, run.lstrip(" "), tokens, words=1)
        for text, tokens in zip(part, tokenizer.encode_texts(part)[1].tolist(), strict=True):
            _add(sums, "all", text, tokens, words=len(text.split()))
    return {
        name: {
            "tokens_per_word": tokens / max(words, 1),
            "characters_per_token": characters / max(tokens, 1),
            "bytes_per_token": size / max(tokens, 1),
            "characters": characters,
        }
        for name in (*SCRIPTS, "all")
        if name in sums
        for words, tokens, characters, size in (sums[name],)
    }


def _add(sums: dict[str, list[int]], name: str, text: str, tokens: int, *, words: int) -> None:
    total = sums.setdefault(name, [0, 0, 0, 0])
    for index, count in enumerate((words, tokens, len(text), len(text.encode()))):
        total[index] += count


def _runs(text: str) -> Iterator[tuple[str, str]]:
    for found in _RUN.finditer(text):
        assert found.lastgroup is not None
        before = " " if text[found.start() - 1 : found.start()] == " " else ""
        yield _NAMES[found.lastgroup], before + found.group()
