"""Texts in their frames: what stands where, and which of two texts a token is of."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hanji.objectives.framing import frame_ids, frame_texts, segments
from objectives.encoders import CLS, SEP, Numbers

TEXTS = st.lists(
    st.tuples(st.lists(st.integers(5, 99), max_size=6), st.none() | st.lists(st.integers(5, 99), max_size=6)),
    max_size=6,
)


@settings(deadline=None)
@given(TEXTS, st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
def test_frames_of_any_size_around_any_texts(
    texts: list[tuple[list[int], list[int] | None]], before: int, between: int, after: int
) -> None:
    encoder = Numbers(100, before=before, between=between, after=after)
    said = [(" ".join(map(str, a)), None if b is None else " ".join(map(str, b))) for a, b in texts]
    rows = frame_texts(encoder, [first for first, _ in said], [second for _, second in said])
    assert len(rows) == len(texts) and rows.borders is not None
    kinds = segments(rows)
    for (first, second), start, end, border in zip(
        texts, rows.offsets[:-1], rows.offsets[1:], rows.borders, strict=True
    ):
        opening = [CLS] * before + first
        expected = opening + [SEP] * after
        if second is not None:
            opening += [SEP] * between
            expected = opening + second + [SEP] * after
            assert border == len(opening)
        else:
            assert border == 0
        assert rows.ids[start:end].tolist() == expected
        of_text = [index > 4 for index in expected]
        assert rows.trained[start:end].tolist() == of_text
        seconds = 0 if border == 0 else len(expected) - border
        assert kinds[start:end].tolist() == [0] * (len(expected) - seconds) + [1] * seconds
    assert (rows.ids.dtype, rows.borders.dtype, kinds.dtype) == (np.int32, np.int64, np.int64)
    assert not rows.text_bytes.any()


def test_an_empty_second_text_is_not_none() -> None:
    rows = frame_texts(Numbers(100), ["5 6", "7"], ["", None])
    assert rows.ids.tolist() == [CLS, 5, 6, SEP, SEP, CLS, 7, SEP]
    assert rows.borders is not None and rows.borders.tolist() == [4, 0]


def test_ids_are_framed_as_texts_are() -> None:
    encoder = Numbers(100)
    first, second = (
        (np.array([5, 6, 7], np.int32), np.array([2, 1])),
        (np.array([8], np.int32), np.array([0, 1])),
    )
    rows = frame_ids(encoder, first, second, np.array([False, True]))
    expected = frame_texts(encoder, ["5 6", "7"], [None, "8"])
    assert rows.ids.tolist() == expected.ids.tolist()
    assert rows.lengths.tolist() == expected.lengths.tolist()
