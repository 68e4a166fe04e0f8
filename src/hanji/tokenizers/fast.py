"""gigatoken, where it gives the ids that `tokenizers` gives."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from importlib.util import find_spec
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tokenizers import Tokenizer as Backend

Rows = tuple[NDArray[np.int32], NDArray[np.int64]]
"""Ids of all texts, one after another: [tokens], and how many each has: [texts]."""

_TEXTS_AT_ONCE: Final = 2048
_WORTH_AN_IMPORT: Final = 64 << 20
_CALL_IN_CHARACTERS: Final = 1000
"""gigatoken gives many texts at once as an array of `awkward`, whose import takes as long as encoding 20 MB.
Until this many characters have come, texts are encoded one by one, where a call costs as much as so many."""
_PROBES: Final = (
    "The quick brown fox doesn't jump, it'll FLY: 12,345.67 times!  Really?? ",
    "대한민국의 수도는 서울이다. 한글은 1443년에 만들어졌고, ㅋㅋㅋ 맛있겠다~!! 값어치가 있뎄쀍",
    "日本語のテキストと漢字、カタカナ。中文測試，简体字。",
    "Привет, мир! Ελληνικά, עברית, العربية, हिन्दी, ไทย, ქართული",
    "def f(x):\n    return {'a': [x**2 for x in range(10)]}  # comment\n\n\n\tif x != None: pass\r\n",
    "  \n \n\n\t\t  leading, trailing   \n   ",
    "\u00a0\u2003\u3000 wide\u200bspaces\ufeff and e\u0301 combining \u1100\u1161\u11a8",
    "🇰🇷👩‍👩‍👧‍👦🏽😀 emoji ☃️ ½ ² ⅷ ١٢٣ 三",
    "\x00\x01\x1f\x7f\x85\u2028\u2029\U0010ffff\ue000\U000f0000",
    "https://example.com/a_b-c?d=e&f=%20#g <html>&amp;</html> \\alpha $x_1^2$",
    "I'm you'RE he'S 'tis ''quoted'' don’t",
    "a" * 300,
    " " * 70 + "x" + "\n" * 40 + "가" * 90,
    "0123456789" * 9,
)


def encode_slowly(backend: Backend, texts: Sequence[str]) -> Rows:
    """The ids of `texts` from `tokenizers`."""
    parts: list[NDArray[np.int32]] = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        part = list(texts[start : start + _TEXTS_AT_ONCE])
        encodings = backend.encode_batch_fast(part, add_special_tokens=False)
        parts += [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return np.concatenate([np.zeros(0, np.int32), *parts]), lengths


class FastEncoder:
    """Encodes texts; the more, the faster: first one by one, later on all cores. Safe in several threads."""

    def __init__(self, encoder: Any, probes: list[str]) -> None:
        self._encoder = encoder
        self._probes = probes
        self._lock = Lock()  # gigatoken refuses a second caller while one encodes
        self._characters = 0
        self._at_once: bool | None = None

    @classmethod
    def of(cls, description: dict[str, Any], backend: Backend, marks: Sequence[str]) -> FastEncoder | None:
        """An encoder, if gigatoken is installed, knows this kind of tokenizer, and agrees on a probe.

        Args:
            description: the tokenizer, as `tokenizers` writes it to JSON.
            backend: the same, made; what it says is right.
            marks: strings that deserve a closer look: special tokens, and what takes their place.
        """
        if description["model"]["type"] != "BPE" or find_spec("gigatoken") is None:
            return None
        import gigatoken

        try:
            encoder = gigatoken.Tokenizer.from_json(json.dumps(description, ensure_ascii=False))
        except Exception:  # a kind of tokenizer that it does not know; it raises nothing narrower
            return None
        probes = _probes(marks)
        agrees = _equal(_one_by_one(encoder, probes), encode_slowly(backend, probes))
        return cls(encoder, probes) if agrees else None

    def encode(self, texts: list[str]) -> Rows:
        """The ids of `texts`, those of `tokenizers`."""
        if not texts:
            return np.zeros(0, np.int32), np.zeros(0, np.int64)
        with self._lock:
            self._characters += sum(map(len, texts)) + _CALL_IN_CHARACTERS * len(texts)
            if self._at_once is None and self._characters > _WORTH_AN_IMPORT:
                both = _all_at_once(self._encoder, self._probes), _one_by_one(self._encoder, self._probes)
                self._at_once = _equal(*both)
            return (_all_at_once if self._at_once else _one_by_one)(self._encoder, texts)

    def token_bytes(self) -> NDArray[np.int64]:
        """[ids] how many bytes of text each token stands for."""
        vocabulary: dict[int, bytes] = self._encoder.vocab
        sizes = np.zeros(1 + max(vocabulary), np.int64)
        sizes[list(vocabulary)] = [len(spelling) for spelling in vocabulary.values()]
        return sizes


def _one_by_one(encoder: Any, texts: list[str]) -> Rows:
    parts = [encoder.encode(text) for text in texts]
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return np.concatenate(parts, dtype=np.int32, casting="same_kind"), lengths


def _all_at_once(encoder: Any, texts: list[str]) -> Rows:
    layout = encoder.encode_batch(texts).layout
    offsets = np.asarray(layout.offsets.data, dtype=np.int64)
    ids = np.asarray(layout.content.data)[offsets[0] : offsets[-1]].astype(np.int32)
    return ids, np.diff(offsets)


def _equal(ours: Rows, theirs: Rows) -> bool:
    return np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])


def _probes(marks: Sequence[str]) -> list[str]:
    generator = random.Random(0)
    points = range(0x110000 - 0x800)  # all but the surrogates, which stand at 0xD800
    odd = [
        "".join(
            chr(point + 0x800 * (point >= 0xD800))
            for point in generator.choices(points, k=generator.randrange(1, 40))
        )
        for _ in range(200)
    ]
    letters = "aB1 \n\t.,'\u0301가ㄱ漢é😀_-\u00a0"
    mixed = ["".join(generator.choices(letters, k=generator.randrange(1, 60))) for _ in range(300)]
    marked = [form for mark in marks[:64] for form in (mark, f"a {mark} b", f"{mark}{mark}\n{mark} \n가")]
    return ["", *_PROBES, *odd, *mixed, *marked]
