from hypothesis import given
from hypothesis import strategies as st

from hanji.generation.text import TextPieces


def pieces_of(ids, tokenizer):
    pieces = TextPieces(tokenizer)
    return [piece for piece in [*(pieces.push(token) for token in ids), pieces.finish()] if piece]


@given(st.text())
def test_no_piece_shows_half_a_character(tokenizer, text):
    pieces = pieces_of(text.encode(), tokenizer)
    assert "".join(pieces) == text
    assert "�" not in "".join(pieces) or "�" in text


@given(st.lists(st.integers(0, 257)))
def test_any_tokens_join_to_what_decoding_them_at_once_gives(tokenizer, ids):
    assert "".join(pieces_of(ids, tokenizer)) == tokenizer.decode(ids, skip_special_tokens=True)


def test_a_hangul_syllable_comes_when_its_last_byte_has_come(tokenizer):
    assert pieces_of("한 👍".encode(), tokenizer) == ["한", " ", "👍"]
