"""Cleaning: what changes, what stays, and that doing it twice changes nothing more."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanji.data.cleaning import Cleaning

DECOMPOSED = unicodedata.normalize("NFD", "한지")


@pytest.mark.parametrize(
    ("cleaning", "text", "expected"),
    [
        (Cleaning(), DECOMPOSED, "한지"),
        (Cleaning(unicode="none"), DECOMPOSED, DECOMPOSED),
        (Cleaning(), "ﬁ ＡＢ", "ﬁ ＡＢ"),
        (Cleaning(unicode="nfkc"), "ﬁ ＡＢ", "fi AB"),
        (Cleaning(), "a\x00b\x1b[0m\ufeff\tc\r\nd\re\u2028f", "ab[0m\tc\nd\ne\nf"),
        (Cleaning(), "👩\u200d👩\u200d👧 क्\u200dष", "👩\u200d👩\u200d👧 क्\u200dष"),
        (Cleaning(control_characters="keep"), "a\x00\r\n", "a\x00\r\n"),
        (Cleaning(), "  a \n\n\n\n b  ", "  a \n\n\n\n b  "),
        (Cleaning(whitespace="collapse"), " a\u00a0\t b \n\n \n\n c ", "a b\n\nc"),
    ],
)
def test_examples(cleaning: Cleaning, text: str, expected: str) -> None:
    assert cleaning(text) == expected


CLEANINGS = st.builds(
    Cleaning,
    unicode=st.sampled_from(["nfc", "nfkc", "none"]),
    control_characters=st.sampled_from(["remove", "keep"]),
    whitespace=st.sampled_from(["keep", "collapse"]),
)


@given(
    CLEANINGS, st.text(alphabet=st.characters() | st.sampled_from("\r\n\t \x00\u2028가\u1100\u1161\u0301a"))
)
def test_cleaning_twice_is_cleaning_once(cleaning: Cleaning, text: str) -> None:
    assert cleaning(cleaning(text)) == cleaning(text)
