"""A grid of photos with captions as one PNG."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from deepfood.caption import font_for, shorten

_INK, _SOFT, _PAPER, _EMPTY = (40, 26, 17), (105, 82, 66), (255, 252, 247), (240, 228, 212)
_TEXT_PIXELS = 16
_LINE_PIXELS = 22
_GAP_PIXELS = 14
_MOST_COLUMNS = 5


@dataclass(frozen=True)
class Cell:
    """A photo as JPEG or PNG, and the lines below it, the first of them the strongest."""

    picture: bytes
    lines: tuple[str, ...]


def draw_grid(title: str, cells: Sequence[Cell], cell_pixels: int) -> bytes:
    """A PNG of `cells` in rows, in their order, each `cell_pixels` wide, below a title."""
    columns = min(_MOST_COLUMNS, len(cells))
    rows = math.ceil(len(cells) / columns)
    lines = max(len(cell.lines) for cell in cells)
    step_x = cell_pixels + _GAP_PIXELS
    step_y = cell_pixels + lines * _LINE_PIXELS + 2 * _GAP_PIXELS
    head = 2 * _LINE_PIXELS + _GAP_PIXELS
    sheet = Image.new("RGB", (columns * step_x + _GAP_PIXELS, head + rows * step_y), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = font_for(title, _TEXT_PIXELS + 4)
    draw.text((_GAP_PIXELS, _GAP_PIXELS), shorten(title, font, columns * step_x), _INK, font)
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        left, top = _GAP_PIXELS + column * step_x, head + row * step_y
        _draw_cell(sheet, draw, cell, (left, top), cell_pixels)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _draw_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, at: tuple[int, int], pixels: int
) -> None:
    left, top = at
    draw.rectangle((left, top, left + pixels - 1, top + pixels - 1), _EMPTY)
    with Image.open(io.BytesIO(cell.picture)) as picture:
        picture.thumbnail((pixels, pixels))
        inner = (left + (pixels - picture.width) // 2, top + (pixels - picture.height) // 2)
        sheet.paste(picture, inner)
    for place, line in enumerate(cell.lines):
        font = font_for(line, _TEXT_PIXELS)
        below = top + pixels + _GAP_PIXELS // 2 + place * _LINE_PIXELS
        draw.text((left, below), shorten(line, font, pixels), _INK if place == 0 else _SOFT, font)
