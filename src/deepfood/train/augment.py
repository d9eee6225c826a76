"""Augmentation of whole batches on the training device.

The random numbers are drawn before: Views (views.py) describe what happens to each photo.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional

from deepfood.photo import Preprocess
from deepfood.train.views import KINDS, Transform, Views

#: The greatest strength of a change: RandAugment's M, as a share.
_STRENGTH = 0.5


def augment(
    pictures: torch.Tensor, views: Views, preprocess: Preprocess, size: int
) -> torch.Tensor:
    """The views of pictures uint8 [n, side, side, 3]: uint8 [n, size, size, 3]."""
    planes = crop(pictures, views.crops, size, preprocess.interpolation)
    fill = _constant(tuple(float(round(255 * value)) for value in preprocess.mean), planes.device)
    for change in views.changes:
        planes = _changed(planes.clamp_(0, 255), change, fill)
    if views.erased is not None:
        planes = _erase(planes, views.erased, fill)
    return planes.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def crop(pictures: torch.Tensor, boxes: torch.Tensor, size: int, filter_name: str) -> torch.Tensor:
    """Boxes of pictures uint8 [n, side, side, 3], resized: float32 [n, 3, size, size], 0 to 255.

    `boxes` float32 [n, 4] are left, top, right, bottom in whole pixels. The filter, bilinear or
    bicubic, is widened when shrinking, as in Pillow.
    """
    way = crop_each if pictures.device.type == "cpu" else crop_together
    return way(pictures, boxes, size, filter_name)


def crop_together(
    pictures: torch.Tensor, boxes: torch.Tensor, size: int, filter_name: str
) -> torch.Tensor:
    """`crop` of all photos together: linear and separable, so one matrix product per axis."""
    count, side = pictures.shape[:2]
    across = resize_weights(boxes[:, 0], boxes[:, 2], side, size, filter_name)
    down = resize_weights(boxes[:, 1], boxes[:, 3], side, size, filter_name)
    rows = pictures.permute(0, 1, 3, 2).float().reshape(count, side, 3 * side)
    high = torch.bmm(down, rows).reshape(count, size * 3, side)
    both = torch.bmm(high, across.transpose(1, 2)).reshape(count, size, 3, size)
    return both.permute(0, 2, 1, 3).contiguous()


def crop_each(
    pictures: torch.Tensor, boxes: torch.Tensor, size: int, filter_name: str
) -> torch.Tensor:
    """`crop` photo by photo: on a CPU, resizing bytes is faster than a product with many zeros."""
    views = pictures.new_empty(len(pictures), 3, size, size)
    for view, picture, box in zip(views, pictures, boxes.int().tolist(), strict=True):
        left, top, right, bottom = box
        part = picture[top:bottom, min(left, right) : max(left, right)].permute(2, 0, 1)[None]
        whole = functional.interpolate(part, (size, size), mode=filter_name, antialias=True)[0]
        view.copy_(whole.flip(2) if right < left else whole)
    return views.float()


def resize_weights(
    start: torch.Tensor, end: torch.Tensor, side: int, size: int, filter_name: str
) -> torch.Tensor:
    """The weight of each of `side` input pixels in each of `size` output pixels, [n, size, side].

    The part from `start` to `end`, float32 [n] in pixels, is resized, and mirrored where `end` is
    less than `start`. Returns float32.
    """
    kernel, radius = _FILTERS[filter_name]
    scale = ((end - start) / size)[:, None]
    wider = scale.abs().clamp(min=1)
    centre = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * scale
    # No box is larger than the picture, which bounds the filter's support.
    taps = 2 * math.ceil(radius * max(1, side / size)) + 1
    first = (centre - radius * wider).floor()
    place = first[:, :, None] + torch.arange(taps, device=start.device)
    weight = kernel((place + 0.5 - centre[:, :, None]) / wider[:, :, None])
    low, high = torch.minimum(start, end)[:, None, None], torch.maximum(start, end)[:, None, None]
    weight = weight * ((place >= low) & (place < high))
    weight = weight / weight.sum(2, keepdim=True)
    every = weight.new_zeros(len(start), size, side)
    return every.scatter_add_(2, place.clamp(0, side - 1).long(), weight)


def _triangle(at: torch.Tensor) -> torch.Tensor:
    return (1 - at.abs()).clamp(min=0)


def _cubic(at: torch.Tensor) -> torch.Tensor:
    """Keys' kernel with a = -0.5, as Pillow's."""
    at = at.abs()
    outer, inner = (2 - at).clamp(min=0), (1 - at).clamp(min=0)
    return 0.5 * outer.square() * (outer - 1) + inner.square() * (1 - 2 * inner)


_FILTERS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], int]] = {
    "bilinear": (_triangle, 1),
    "bicubic": (_cubic, 2),
}


@lru_cache
def _constant(values: tuple[Any, ...], device: torch.device) -> torch.Tensor:
    """A constant, cached on the device, as a copy to the GPU would wait for its queue."""
    return torch.tensor(values, device=device)


def _changed(planes: torch.Tensor, change: Transform, fill: torch.Tensor) -> torch.Tensor:
    """Apply to each photo, float32 [3, size, size], 0 to 255, its kind of change, in place."""
    for kind, work in _OPERATIONS.items():
        low, high = change.bounds[KINDS.index(kind)], change.bounds[KINDS.index(kind) + 1]
        if low < high:
            rows, amounts = change.rows[low:high], change.amounts[low:high]
            after = work(planes.index_select(0, rows), amounts, fill)
            planes.index_copy_(0, rows, after.clamp_(0, 255))
    return planes


def _factor(amounts: torch.Tensor) -> torch.Tensor:
    """[n, 1, 1, 1]; 1 is no change."""
    return (1 + 0.9 * _STRENGTH * amounts[:, 0])[:, None, None, None]


def _grey(planes: torch.Tensor) -> torch.Tensor:
    """[n, 1, size, size], by ITU-R 601."""
    red, green, blue = planes[:, :1], planes[:, 1:2], planes[:, 2:]
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _brightness(planes: torch.Tensor, amounts: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    return planes * _factor(amounts)


def _contrast(planes: torch.Tensor, amounts: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    return torch.lerp(_grey(planes).mean((2, 3), keepdim=True), planes, _factor(amounts))


def _saturation(planes: torch.Tensor, amounts: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    return torch.lerp(_grey(planes), planes, _factor(amounts))


#: SVG's hueRotate: the constant part, and those multiplied by cosine and sine.
_HUE = (
    ((0.213, 0.715, 0.072), (0.213, 0.715, 0.072), (0.213, 0.715, 0.072)),
    ((0.787, -0.715, -0.072), (-0.213, 0.285, -0.072), (-0.213, -0.715, 0.928)),
    ((-0.213, -0.715, 0.928), (0.143, 0.140, -0.283), (-0.787, 0.715, 0.072)),
)


def _hue(planes: torch.Tensor, amounts: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    angle = (amounts[:, 0] * (0.1 * _STRENGTH * 2 * math.pi))[:, None, None]
    stays, with_cosine, with_sine = _constant(_HUE, planes.device)
    matrix = stays + angle.cos() * with_cosine + angle.sin() * with_sine
    return torch.bmm(matrix, planes.flatten(2)).reshape(planes.shape)


def _autocontrast(planes: torch.Tensor, amounts: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    low, high = planes.amin((2, 3), keepdim=True), planes.amax((2, 3), keepdim=True)
    flat = high - low < 1
    return torch.where(flat, planes, (planes - low) * (255 / (high - low).clamp(min=1)))


def _sharpness(planes: torch.Tensor, amounts: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    """0 is Pillow's smooth filter, 1 no change; border pixels are unchanged."""
    factor = (1 + amounts[:, 0])[:, None, None, None]
    inner = planes[:, :, 1:-1, 1:-1]
    three = planes[:, :, :-2] + planes[:, :, 1:-1] + planes[:, :, 2:]
    nine = three[..., :-2] + three[..., 1:-1] + three[..., 2:]
    smooth = (nine + 4 * inner) / 13
    after = planes.clone()
    after[:, :, 1:-1, 1:-1] = torch.lerp(smooth, inner, factor)
    return after


def _equalize(planes: torch.Tensor, amounts: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    """Histogram equalization of each channel, as in Pillow."""
    values = planes.round().long().flatten(2)
    counts = values.new_zeros(*values.shape[:2], 256)
    counts.scatter_add_(2, values, torch.ones_like(values))
    last = counts.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - last) // 255
    new = (counts.cumsum(2) - counts + step // 2) // step.clamp(min=1)
    spread = new.clamp(max=255).gather(2, values)
    return torch.where(step > 0, spread, values).to(planes.dtype).reshape(planes.shape)


def _turn(planes: torch.Tensor, amounts: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    angle = amounts[:, 0] * (2 * _STRENGTH * math.radians(30))
    return _sampled(planes, (angle.cos(), -angle.sin(), angle.sin(), angle.cos()), fill)


def _shear(planes: torch.Tensor, amounts: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    across, down = (amounts * (2 * _STRENGTH * math.radians(17))).tan().unbind(1)
    one = torch.ones_like(across)
    return _sampled(planes, (one, across, down, one), fill)


def _sampled(
    planes: torch.Tensor, matrix: tuple[torch.Tensor, ...], fill: torch.Tensor
) -> torch.Tensor:
    """Affine resampling with one matrix per photo, [n] per entry, about the centre."""
    theta = torch.stack(matrix, 1).reshape(-1, 2, 2)
    theta = functional.pad(theta, (0, 1))
    grid = functional.affine_grid(theta, list(planes.shape), align_corners=False)
    beside = fill[:, None, None]
    return functional.grid_sample(planes - beside, grid, align_corners=False) + beside


Operation = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
_OPERATIONS: dict[str, Operation] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
    "autocontrast": _autocontrast,
    "sharpness": _sharpness,
    "equalize": _equalize,
    "turn": _turn,
    "shear": _shear,
}


def _erase(planes: torch.Tensor, boxes: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    """Paint over boxes, float32 [n, 4] as shares of the view."""
    size = planes.shape[2]
    middle = (torch.arange(size, device=planes.device) + 0.5) / size
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    across, down = (middle >= left) & (middle < right), (middle >= top) & (middle < bottom)
    inside = (down[:, :, None] & across[:, None, :])[:, None]
    return torch.where(inside, fill[:, None, None], planes)
