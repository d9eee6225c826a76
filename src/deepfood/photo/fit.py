"""How a photo of any shape becomes a square: the size that it is resized to, and the crop."""

from typing import Literal, NamedTuple

Resize = Literal["square", "shortest", "squash", "pad"]
#: How the corner of a centred square is rounded from half a pixel: to the even pixel, or down.
Rounding = Literal["even", "down"]


class Fit(NamedTuple):
    """A photo is resized to `resized`, width and height; the square begins at `left`, `top`.

    The Model gets `size` x `size` pixels of the resized picture. `left` or `top` is negative if the
    square is wider or higher than it. All are pixels.
    """

    size: int
    resized: tuple[int, int]
    left: int
    top: int

    @property
    def part(self) -> tuple[int, int, int, int]:
        """The part of the resized picture in the square: left, top, right, bottom in pixels."""
        width, height = self.resized
        left, top = max(self.left, 0), max(self.top, 0)
        return left, top, min(self.left + self.size, width), min(self.top + self.size, height)


def fit(
    resize: Resize, size: int, crop: float, width: int, height: int, rounding: Rounding = "even"
) -> Fit:
    """How an upright photo of width x height pixels is fitted. `resize` is any but `square`.

    Sizes and positions are rounded as in torchvision's Resize and CenterCrop, and timm's
    ResizeKeepRatio and CenterCropOrPad, which open_clip uses too; transformers rounds positions
    down.
    """
    side = round(size / crop)
    if resize == "squash":
        resized = side, side
    elif resize == "pad":
        ratio = max(width / side, height / side)
        resized = max(1, round(width / ratio)), max(1, round(height / ratio))
    elif width <= height:
        resized = side, int(side * height / width)
    else:
        resized = int(side * width / height), side
    left, top = (_begin(length, size, rounding) for length in resized)
    return Fit(size, resized, left, top)


def visible_region(
    resize: Resize,
    size: int,
    crop: float,
    width: int,
    height: int,
    rounding: Rounding = "even",
) -> tuple[float, float, float, float]:
    """The region of an upright photo that becomes the square: left, top, right, bottom in pixels.

    It reaches beyond a photo that is padded.
    """
    if resize == "square":
        side = min(width, height) * crop
        # Whole pixels, so that a photo of the right size is cropped without resampling.
        left, top = round((width - side) / 2), round((height - side) / 2)
        return left, top, min(left + side, width), min(top + side, height)
    fitted = fit(resize, size, crop, width, height, rounding)
    across, down = width / fitted.resized[0], height / fitted.resized[1]
    right, bottom = fitted.left + size, fitted.top + size
    return fitted.left * across, fitted.top * down, right * across, bottom * down


def _begin(length: int, size: int, rounding: Rounding) -> int:
    """Where a centred square begins along one side."""
    if length < size:
        return -((size - length) // 2)
    return (length - size) // 2 if rounding == "down" else round((length - size) / 2)
