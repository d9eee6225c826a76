"""A searched plate as a picture: its boxes, and beside it what was found for each."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from deepfood.caption import font_for, shorten
from deepfood.photo import Limits, thumbnail
from deepfood.photo_box import Box

#: One for each part; they can be told apart with any kind of colour blindness (Okabe and Ito).
_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (0, 0, 0),
)
_INK, _PAPER = (40, 26, 17), (255, 252, 247)
#: Pixels: the photo's longer side, and the side and number of the hits in a row.
_PHOTO, _HIT, DRAWN_HITS = 800, 96, 5
_GAP, _TEXT = 12, 18


@dataclass(frozen=True)
class DrawnPart:
    """A box, what it shows in a few words, and the bytes of the photos found for it."""

    box: Box
    caption: str
    hits: Sequence[bytes]


def draw_plate(photo: bytes, parts: Sequence[DrawnPart], limits: Limits) -> bytes:
    """A PNG: the photo with a box for each part, and a row for each beside it.

    A hit that cannot be read leaves its place empty. Raises PhotoError for the photo.
    """
    shown = Image.open(io.BytesIO(thumbnail(photo, _PHOTO, limits))).convert("RGB")
    row = _TEXT + _HIT + 2 * _GAP
    beside = DRAWN_HITS * (_HIT + _GAP)
    height = max(shown.height, row * len(parts)) + 2 * _GAP
    sheet = Image.new("RGB", (shown.width + beside + 3 * _GAP, height), _PAPER)
    sheet.paste(shown, (_GAP, _GAP))
    draw = ImageDraw.Draw(sheet)
    left = shown.width + 2 * _GAP
    for number, (part, colour) in enumerate(zip(parts, _COLOURS, strict=False), 1):
        x, y = _GAP + part.box.x * shown.width, _GAP + part.box.y * shown.height
        end = x + part.box.width * shown.width, y + part.box.height * shown.height
        draw.rectangle((x, y, *end), outline=colour, width=4)
        font = font_for(part.caption, _TEXT)
        tag = f" {number} "
        reach = font.getlength(tag)
        draw.rectangle((x, y, x + reach, y + _TEXT + 6), fill=colour)
        draw.text((x, y), tag, _INK if sum(colour) > 300 else _PAPER, font)
        top = _GAP + (number - 1) * row
        draw.rectangle((left, top, left + 6, top + row - _GAP), fill=colour)
        at = left + _GAP
        text = shorten(f"{number}  {part.caption}", font, beside - _GAP)
        draw.text((at, top), text, _INK, font)
        for place, data in enumerate(part.hits[:DRAWN_HITS]):
            if data:
                hit = Image.open(io.BytesIO(thumbnail(data, _HIT, limits)))
                sheet.paste(hit, (at + place * (_HIT + _GAP // 2), top + _TEXT + _GAP))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()
