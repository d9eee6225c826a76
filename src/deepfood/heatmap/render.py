"""Heat maps as pictures: the photo in grey, with each region's contribution in colour on top."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from deepfood.caption import font_for, shorten
from deepfood.heatmap.match import MatchHeat
from deepfood.heatmap.network import Floats
from deepfood.photo import Limits, Preprocess, thumbnail
from deepfood.photo_box import Box

#: Colours at equal steps from 0 to the strongest contribution: warm for the match, blue against
#: it. Lightness falls evenly, and the hues can be told apart with any kind of colour blindness.
WARM = ((255, 237, 160), (254, 178, 76), (240, 90, 35), (165, 15, 60))
BLUE = ((200, 225, 250), (125, 180, 235), (55, 115, 205), (20, 50, 140))
#: The opacity of the strongest cell's colour, and of regions that the Model does not see.
_STRONGEST_OPACITY = 0.85
_UNSEEN_SHARE = 0.4
#: The greys of black and white, on which all colours can still be told apart.
_DARKEST, _LIGHTEST = 70, 235

_INK = (40, 26, 17)
_PAPER = (255, 252, 247)
_LEGEND_GREY = 150
#: The least width of each photo's column, in pixels, so that the legend fits.
_NARROWEST = 240


def draw_heat(
    photo: bytes,
    heat: Floats,
    strongest: float,
    preprocess: Preprocess,
    limits: Limits,
    longest: int,
    box: Box | None = None,
) -> Image.Image:
    """The whole upright photo under its heat map, RGB, longest side at most `longest` pixels.

    `heat`, float32 [h, w], covers what the Model sees, of the `box` where there is one. The photo
    fades around it; padding is cut off. `strongest` is the contribution shown in full colour.
    Raises PhotoError.
    """
    image = Image.open(io.BytesIO(thumbnail(photo, longest, limits)))
    grey = np.asarray(image.convert("L"), np.float32)[..., None].repeat(3, axis=2)
    height, width = grey.shape[:2]
    left, top, right, bottom = (round(at) for at in preprocess.visible_in(box, width, height))
    size = max(1, right - left), max(1, bottom - top)
    smooth = Image.fromarray(heat / strongest).resize(size, Image.Resampling.BICUBIC)
    grey = _DARKEST + grey * ((_LIGHTEST - _DARKEST) / 255)
    out = 255 - (255 - grey) * _UNSEEN_SHARE
    inside = np.s_[max(top, 0) : top + size[1], max(left, 0) : left + size[0]]
    over = np.asarray(smooth)[max(-top, 0) : height - top, max(-left, 0) : width - left]
    out[inside] = _lay_over(grey[inside], over)
    return Image.fromarray(np.rint(out).astype(np.uint8))


def draw_pair(
    query: bytes,
    hit: bytes,
    match: MatchHeat,
    names: tuple[str, str],
    preprocess: Preprocess,
    limits: Limits,
    *,
    longest: int = 480,
    box: Box | None = None,
) -> bytes:
    """A PNG: both photos, each with its heat map below, and a legend; `names` are their captions.

    `box` is the part of the query that counts. The longest side of each photo is at most `longest`
    pixels. Raises PhotoError.
    """
    columns = []
    for photo, heat, part in ((query, match.query, box), (hit, match.hit, None)):
        plain = Image.open(io.BytesIO(thumbnail(photo, longest, limits)))
        hot = draw_heat(photo, heat, match.strongest, preprocess, limits, longest, part)
        columns.append((plain, hot))
    width = max(_NARROWEST, *(plain.width for plain, _ in columns))
    height = max(plain.height for plain, _ in columns)
    text = max(12, width // 26)
    gap, line = text, text * 3 // 2
    size = (2 * width + 3 * gap, 2 * height + 5 * gap + 4 * line)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, (name, pictures) in enumerate(zip(names, columns, strict=True)):
        left = gap + column * (width + gap)
        font = font_for(name, text)
        draw.text((left, gap), shorten(name, font, width), _INK, font)
        for row, picture in enumerate(pictures):
            sheet.paste(picture, (left, gap + line + row * (height + gap)))
    top = 3 * gap + line + 2 * height
    _draw_legend(sheet, (gap, top, sheet.width - gap, top + line), text, match)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def scale_in_words(match: MatchHeat) -> str:
    """What the strongest colour means, in one sentence."""
    return (
        f"strongest colour: {match.strongest:.3f} of the similarity {match.score:.3f}, "
        f"in one of {match.query.size} cells"
    )


def _draw_legend(
    sheet: Image.Image, box: tuple[int, int, int, int], text: int, match: MatchHeat
) -> None:
    left, top, right, bottom = box
    lowest = -1 if min(match.query.min(), match.hit.min()) < 0 else 0
    draw = ImageDraw.Draw(sheet)
    values = np.linspace(lowest, 1, right - left, dtype=np.float32)[None]
    strip = _lay_over(np.full((*values.shape, 3), _LEGEND_GREY, np.float32), values)
    bar = Image.fromarray(np.rint(strip).astype(np.uint8))
    sheet.paste(bar.resize((right - left, bottom - top)), (left, top))
    font = font_for("", text)
    below = bottom + text // 3
    against, strongest = (
        f"-{match.strongest:.3f} against it",
        f"+{match.strongest:.3f} for the match",
    )
    words = [(against, 0), ("0", 0.5)] if lowest < 0 else [("0 adds nothing", 0)]
    for word, share in [*words, (strongest, 1)]:
        x = left + (right - left - font.getlength(word)) * share
        draw.text((x, below), word, _INK, font)
    draw.text((left, below + text * 3 // 2), scale_in_words(match), _INK, font)


def _lay_over(grey: Floats, values: npt.NDArray[np.float32]) -> Floats:
    """Colours over grey float32 [h, w, 3]; `values` float32 [h, w] are clipped to -1 to 1."""
    amount = np.clip(np.abs(values), 0, 1)
    warm, blue = (_colours(amount, stops) for stops in (WARM, BLUE))
    colour = np.where((values >= 0)[..., None], warm, blue)
    opacity = (_STRONGEST_OPACITY * amount**0.7)[..., None]
    return (grey * (1 - opacity) + colour * opacity).astype(np.float32)


def _colours(amount: Floats, stops: tuple[tuple[int, int, int], ...]) -> Floats:
    """The colour of each amount, 0 to 1, between `stops`: float32 [..., 3]."""
    at = np.linspace(0, 1, len(stops))
    channels = [np.interp(amount, at, [stop[i] for stop in stops]) for i in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)
