"""Words in pictures: they fit, and their letters are there."""

from hypothesis import given
from hypothesis import strategies as st

from deepfood.caption import font_for, shorten


@given(text=st.text(max_size=60), width=st.integers(20, 300))
def test_a_caption_fits_its_width(text: str, width: int) -> None:
    font = font_for("a", 14)
    short = shorten(text, font, width)
    assert font.getlength(short) <= max(width, font.getlength("…"))
    assert "\n" not in short
    whole = " ".join(text.split())
    assert short == whole or (short.endswith("…") and whole.startswith(short[:-1].rstrip()))


def test_a_font_with_the_letters_is_taken_where_there_is_one() -> None:
    plain = font_for("Tomato soup", 16)
    assert plain.getlength("Tomato soup") > plain.getlength("Tomato")
    # No font has this one: drawn as a box, and no error.
    assert font_for("\U000e0fff", 16).getlength("\U000e0fff") >= 0
