"""How a photo of any shape becomes a square: to what size it is resized, and which part counts."""

from typing import Literal, NamedTuple

Resize = Literal["square", "shortest", "squash", "pad"]
#: Where a centred square begins whose place is half a pixel: at the even one, or at the smaller.
Rounding = Literal["even", "down"]


class Fit(NamedTuple):
    """A photo is resized to `resized`, width and height in pixels; `left`, `top` begin the square.

    Of that picture the Model gets `size` x `size` pixels. `left` or `top` is negative where the
    square reaches beyond it on both sides.
    """

    size: int
    resized: tuple[int, int]
    left: int
    top: int

    @property
    def part(self) -> tuple[int, int, int, int]:
        """What the square has of the resized picture: left, top, right, bottom in pixels."""
        width, height = self.resized
        left, top = max(self.left, 0), max(self.top, 0)
        return left, top, min(self.left + self.size, width), min(self.top + self.size, height)


def fit(
    resize: Resize, size: int, crop: float, width: int, height: int, rounding: Rounding = "even"
) -> Fit:
    """How an upright photo of width x height pixels fits. `resize` is any but `square`.

    Sizes and places are rounded as torchvision's Resize, CenterCrop, and timm's ResizeKeepRatio and
    CenterCropOrPad round them, which open_clip has too; transformers rounds places down.
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


def seen(
    resize: Resize,
    size: int,
    crop: float,
    width: int,
    height: int,
    rounding: Rounding = "even",
) -> tuple[float, float, float, float]:
    """The region of an upright photo that becomes the square: left, top, right, bottom in pixels.

    It reaches beyond the photo where that is padded.
    """
    if resize == "square":
        side = min(width, height) * crop
        # Whole pixels, so that a photo already at the right size is cropped and not resampled.
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
