"""Plain text to ids, as fast as the machine allows, with the ids that `tokenizers` gives."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hanji.contracts.errors import DataError
from hanji.tokenizers.backend import plain_description, special_tokens, text_backend
from tokenizers import Tokenizer as Backend

_TEXTS_AT_ONCE: Final = 2048
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


class TextEncoder:
    """Encodes texts without special tokens; what looks like one in a text stays text."""

    def __init__(self, backend: Backend) -> None:
        self._slow = text_backend(backend)
        self._fast = _fast_encoder(backend, self._slow)

    @property
    def is_fast(self) -> bool:
        """Whether gigatoken does the work."""
        return self._fast is not None

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids of all texts, one after another: [tokens], and how many each has: [texts].

        Raises:
            DataError: for a text that is no Unicode (half a surrogate pair).
        """
        texts = list(texts)
        try:
            return _rows(self._fast, texts) if self._fast is not None else _slow_rows(self._slow, texts)
        except (UnicodeEncodeError, TypeError) as error:
            for index, text in enumerate(texts):
                _check_text(text, f"text {index}")
            raise AssertionError("every text was a good one") from error


def _check_text(text: object, where: str) -> None:
    if not isinstance(text, str):
        raise DataError("a text must be a string", where=where, value=text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "a text holds half of a surrogate pair, which is no character",
            where=f"{where}, character {error.start}",
            value=text[max(error.start - 20, 0) : error.end + 20],
        ) from error


def _slow_rows(backend: Backend, texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    parts: list[NDArray[np.int32]] = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        encodings = backend.encode_batch_fast(texts[start : start + _TEXTS_AT_ONCE], add_special_tokens=False)
        parts += [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return np.concatenate([np.zeros(0, np.int32), *parts]), lengths


def _rows(encoder: Any, texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    if not texts:
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    layout = encoder.encode_batch(texts).layout
    offsets = np.asarray(layout.offsets.data, dtype=np.int64)
    ids = np.asarray(layout.content.data)[offsets[0] : offsets[-1]]
    return ids.astype(np.int32), np.diff(offsets)


def _fast_encoder(backend: Backend, slow: Backend) -> Any | None:
    """gigatoken with this vocabulary, if it is installed, knows the kind, and agrees with `tokenizers`."""
    if find_spec("gigatoken") is None:
        return None
    description = plain_description(backend)
    if description["model"]["type"] != "BPE":
        return None
    description["added_tokens"] = [token for token in description["added_tokens"] if not token["special"]]
    import gigatoken

    try:
        encoder = gigatoken.Tokenizer.from_json(json.dumps(description))
    except Exception:  # a kind of tokenizer that it does not know; it raises nothing narrower
        return None
    probes = _probe_texts(list(special_tokens(backend)))
    (ids, lengths), (expected_ids, expected_lengths) = _rows(encoder, probes), _slow_rows(slow, probes)
    agrees = np.array_equal(ids, expected_ids) and np.array_equal(lengths, expected_lengths)
    return encoder if agrees else None


def _probe_texts(specials: Sequence[str]) -> list[str]:
    generator = random.Random(0)
    odd = [
        "".join(
            chr(point)
            for point in generator.choices(
                (*range(0xD800), *range(0xE000, 0x110000)), k=generator.randrange(1, 40)
            )
        )
        for _ in range(200)
    ]
    letters = "aB1 \n\t.,'\u0301가ㄱ漢é😀_-\u00a0"
    mixed = ["".join(generator.choices(letters, k=generator.randrange(1, 60))) for _ in range(300)]
    typed = [form for token in specials[:64] for form in (token, f"a {token} b", f"{token}{token}\n{token}")]
    return ["", *_PROBES, *odd, *mixed, *typed]
