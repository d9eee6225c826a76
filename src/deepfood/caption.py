"""Words in pictures: a font that has their letters, and no more of them than there is room for."""

from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

#: Tried in this order after Pillow's own font, which has the plain Latin letters only, and found
#: where the system keeps its fonts. Letters that none has are drawn as empty boxes.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "arial.ttf",
    "msyh.ttc",
)
_NO_LETTER = "\uffff"


def font_for(text: str, pixels: int) -> Font:
    """The first font that has every letter of `text`, `pixels` high; Pillow's own if none has."""
    own = ImageFont.load_default(pixels)
    for name in (None, *_FONTS):
        font = own if name is None else _system_font(name, pixels)
        if font is not None and all(_has(font, letter) for letter in {*text} - {" ", "…"}):
            return font
    return own


def shorten(text: str, font: Font, width: int) -> str:
    """`text` in one line of at most `width` pixels, cut with "…" where it is longer."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if font.getlength(text[:middle].rstrip() + "…") <= width:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + "…"


@lru_cache(maxsize=64)
def _system_font(name: str, pixels: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, pixels)
    except OSError:
        return None


def _has(font: Font, letter: str) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NO_LETTER))
