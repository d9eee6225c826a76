"""Pictures with 8 bits and without transparency, which can be shrunk and shown."""

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

#: Pixels processed at once: only the decoder holds all pixels of a large photo in memory.
BAND_PIXELS = 2**20


def bands(image: Image.Image, *, opaque: bool) -> Iterator[Image.Image]:
    """A picture in bands of rows from the top, each flattened; `opaque` ignores its alpha.

    A picture that is flat already is one band.
    """
    width, height = image.size
    rows = height if _is_flat(image) else max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        whole = rows >= height
        band = image if whole else image.crop((0, top, width, min(top + rows, height)))
        yield flatten(band, opaque=opaque)


def flatten(image: Image.Image, *, opaque: bool = False) -> Image.Image:
    """Convert to mode L, RGB, CMYK or LAB: 16 bits scaled to 8, no palettes, alpha on white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if opaque and image.mode == "RGBA":
        return image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "LA":  # grey stays grey, as its colour profile requires
        grey, alpha = image.split()
        return Image.composite(grey, Image.new("L", grey.size, "white"), alpha)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if _is_flat(image):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _is_flat(image: Image.Image) -> bool:
    return image.mode in ("L", "RGB", "CMYK", "LAB") and not image.has_transparency_data


def shrink(
    found: Iterable[Image.Image],
    whole: tuple[int, int],
    size: tuple[int, int],
    how: Image.Resampling,
    box: tuple[float, float, float, float],
) -> Image.Image:
    """`resize(size, how, box)` of a picture of `whole` width and height, given as bands.

    Each band is resized along its rows as it arrives; the result then along its columns. (Pillow
    begins with the columns of a picture that is much taller than wide, which rounds some values
    differently.)
    """
    left, top, right, bottom = box
    narrow: Image.Image | None = None
    y = 0
    for band in not_widened(found, whole, size[0]):
        if band.height == whole[1]:
            return band.resize(size, how, box)
        piece = band.resize((size[0], band.height), how, (left, 0, right, band.height))
        narrow = narrow or Image.new(piece.mode, (size[0], whole[1]))
        narrow.paste(piece, (0, y))
        y += band.height
    assert narrow is not None  # a picture has at least one row
    return narrow.resize(size, how, (0, top, size[0], bottom))


def not_widened(
    found: Iterable[Image.Image], whole: tuple[int, int], width: int
) -> Iterable[Image.Image]:
    """The bands; joined if they would become wider, as a tall strip could fill the memory."""
    return found if whole[0] >= width else [joined(found, whole)]


def joined(found: Iterable[Image.Image], size: tuple[int, int]) -> Image.Image:
    """The whole picture of this size, from its bands."""
    whole: Image.Image | None = None
    y = 0
    for band in found:
        if band.height == size[1]:
            return band
        whole = whole or Image.new(band.mode, size)
        whole.paste(band, (0, y))
        y += band.height
    assert whole is not None
    return whole
